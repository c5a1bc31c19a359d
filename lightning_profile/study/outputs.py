"""Where a study goes: its files, each by a module of its own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lightning_profile.report import whole_lines
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.csv_file import CSV_NAME, format_csv
from lightning_profile.study.findings import findings
from lightning_profile.study.json_file import JSON_NAME, format_json

_PACKAGES = {"matplotlib": "matplotlib", "jinja2": "Jinja2", "markdown_it": "markdown-it-py"}


def require_packages() -> None:
    """Raise ValueError, before hours are spent on it, if a study's report can't be written."""
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise ValueError(
            f"a study's report needs {' and '.join(missing)}: "
            "pip install 'lightning-profile[study]'"
        )


def write_outputs(folder: Path, analysis: Analysis) -> None:
    """Write all files into ``folder``.

    Raises:
        OSError: If one can't be written.
    """
    found = findings(analysis)
    whole_lines.replace(folder / CSV_NAME, format_csv(analysis))
    whole_lines.replace(folder / JSON_NAME, format_json(analysis, found))
    # Slow to import, and nothing that a training needs.
    from lightning_profile.study.figures import draw_figures  # noqa: PLC0415
    from lightning_profile.study.report import write_report  # noqa: PLC0415
    from lightning_profile.study.tensorboard import write_events  # noqa: PLC0415

    figures = draw_figures(analysis, folder / "figures")
    write_report(folder, analysis, found, figures)
    write_events(folder, analysis, found, figures)
