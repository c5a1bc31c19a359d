"""The page of results says what its points say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "results"
_SPEC = importlib.util.spec_from_file_location("write_page", FOLDER / "write_page.py")
assert _SPEC is not None
assert _SPEC.loader is not None
write_page = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = write_page  # where its dataclass looks for itself
_SPEC.loader.exec_module(write_page)


def test_the_page_is_made_from_the_points_that_lie_beside_it() -> None:
    assert write_page.PAGE.read_text("utf-8") == write_page.make_page()


@pytest.mark.parametrize("study", write_page.STUDIES, ids=lambda study: study.name)
def test_flop_lie_on_theorys_line_to_the_digit(study: object) -> None:
    analysis = write_page.analyse_points(study.name)  # type: ignore[attr-defined]
    for row, products in zip(write_page.PHASES, (1, 2), strict=True):
        series = analysis.of(row, "counted_flop")
        assert series.line.is_exact
        assert series.line == series.theory_line
        assert series.line.slope == products * 2 * 24 * 24 * 64 * 32 * 9
        assert series.line.intercept == 0


def test_every_figure_on_the_page_is_there() -> None:
    for study in write_page.STUDIES:
        for name in write_page.FIGURES:
            assert f"(results/{study.name}_{name}.png)" in write_page.PAGE.read_text("utf-8")
            assert (FOLDER / f"{study.name}_{name}.png").stat().st_size > 10_000
