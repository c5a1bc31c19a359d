"""The API page shows whatever is meant to be used from outside of the package.

That each of these names has a docstring to show is Sphinx's to say: ``.ci/run`` builds the page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lightning_profile
from lightning_profile import study, theory

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "api" / "index.rst").read_text("utf-8")
DIRECTIVE = re.compile(r"^\.\. (?:auto)?(?:class|function|exception|data):: ([\w.]+)", re.MULTILINE)
SHOWN = set(DIRECTIVE.findall(PAGE))


def formula_api() -> set[str]:
    """What docs/theory.md names of ``lightning_profile.theory``."""
    text = (ROOT / "docs" / "theory.md").read_text("utf-8")
    code = re.findall(r"`([^`\n]+)`|^    (.+)$", text, re.MULTILINE)
    words = {word for pair in code for part in pair for word in re.findall(r"\w+", part)}
    return words & set(theory.__all__)


def imported_by_examples() -> Iterator[str]:
    """What the examples import of the package."""
    for path in (ROOT / "examples").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lightning_p"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


PUBLIC = {
    *(f"lightning_profile.{name}" for name in lightning_profile.__all__),
    *(f"lightning_profile.study.{name}" for name in study.__all__),
    *(f"lightning_profile.theory.{name}" for name in formula_api()),
    *imported_by_examples(),
}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_shown(name: str) -> None:
    assert name in SHOWN


def test_the_formula_api_is_found_in_its_page() -> None:
    assert formula_api() >= {"phase_costs", "phase_cost", "product_costs", "scaled_dot_product"}
