"""How Sphinx makes the API page of the docstrings: ``python -m sphinx -W docs/api build/api``."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.autodoc import FunctionDocumenter, ModuleLevelDocumenter

import lightning_profile

project = "lightning_profile"
author = "the maintainers of lightning_profile"
release = lightning_profile.__version__
html_title = f"{project} {release}"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
napoleon_use_ivar = True  # else an attribute and a property of that name would be defined twice
napoleon_attr_annotations = False  # the signature has the types
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# A reference that leads nowhere is a warning, but for those to other packages' pages, as to look
# them up takes a network, and for types that are only passed on.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(torch|pytorch_lightning|lightning\.pytorch|collections|fractions|pathlib)\..*"),
    ("py:class", r"lightning_profile\.study\.(departures|point|prediction|projection)\..*"),
    ("py:class", r"lightning_profile\.study\.(quantities|training)\..*"),
]
html_theme_options = {"nosidebar": True}
html_copy_source = False
html_show_sphinx = False


class OneSignature(FunctionDocumenter):
    """A function that dispatches on a type is shown once, not with each of the types."""

    def format_signature(self, **options: Any) -> str:
        """The signature of the function itself."""
        return ModuleLevelDocumenter.format_signature(self, **options)


def setup(app: Sphinx) -> None:
    """What Sphinx calls first."""
    app.add_autodocumenter(OneSignature, override=True)
