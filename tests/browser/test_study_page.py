"""A study's page is read without moving it sideways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightning_profile.study.outputs import write_outputs
from lightning_profile.study.point import Point
from tests.study.made import analysis

WIDTHS = """
() => {
  const heading = [...document.querySelectorAll("h2")].find(
    each => each.textContent === "The training step");
  const box = heading.nextElementSibling;
  return [box.className, box.clientWidth, box.scrollWidth, document.body.scrollWidth];
}
"""
EVERYTHING = {
    "peak_tensor_bytes": lambda n: 2**30 * 1.111 + n,
    "peak_allocated_bytes": lambda n: 2**30 * 1.111 + n,
    "peak_reserved_bytes": lambda n: 2**30 * 1.111 + n,
    "peak_resident_bytes": lambda n: 2**30 * 1.111 + n,
    "wall_time_ns": lambda n: 123_456.0 * n,
    "page_faults": lambda n: 1000 * n,
    "interruptions": lambda n: 1000 * n,
}


@pytest.mark.parametrize("width", [1200, 1000])
def test_the_table_of_the_training_step_shows_all_its_columns(
    browser: Any, tmp_path: Path, screenshots: Path, width: int
) -> None:
    out = Point(batch_size=4096, status="out of memory", requested_bytes=2**30)
    write_outputs(tmp_path, analysis(step=EVERYTHING, extra=[out]))
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((tmp_path / "report.html").as_uri())
    name, shown, needed, body = page.evaluate(WIDTHS)
    page.get_by_text("The training step", exact=True).first.scroll_into_view_if_needed()
    page.screenshot(path=screenshots / f"study_page_{width}.png")
    page.close()
    assert name == "table"
    assert needed <= shown
    assert body <= width
