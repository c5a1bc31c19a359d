"""What a person sees of a training of several processes: bands, in Custom Scalars."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import EPOCHS_TOGETHER
from tests.browser.test_tabs import PHASES, lines_drawn, shown

# As they are shown, from top to bottom.
BANDS = [
    f"{phase}: {quantity} over the processes (mean, min to max)"
    for phase in PHASES
    for quantity in ("CPU time in ns", "peak of allocated bytes")
]
LAYER = "Conv2d-2"  # in whose forward the second process has more to do
CARDS = "tf-custom-scalar-multi-line-chart-card, tf-custom-scalar-margin-chart-card"
TITLE = ".heading-label.name"
_POINT = re.compile(r"[ML]([-\d.]+),([-\d.]+)")
_LOOK = """path => {
    const style = getComputedStyle(path)
    return [style.fill, style.fillOpacity, path.getBoundingClientRect().height]
}"""

OpenTab = Callable[[str], Any]
Points = list[tuple[float, float]]


@pytest.fixture
def charts(open_tab_of_two_processes: OpenTab) -> Any:
    """Those of one layer, once they are drawn."""
    page = open_tab_of_two_processes("custom_scalars")
    named = page.locator(".category-name").get_by_text(LAYER, exact=True)
    charts = page.locator("tf-category-paginated-view").filter(has=named)
    charts.locator(CARDS).first.wait_for()
    return charts


def bands_of(charts: Any) -> list[Any]:
    return list(charts.locator("tf-custom-scalar-margin-chart-card").all())


def path_of(card: Any, kind: str) -> Points:
    path = card.locator(f"svg path.{kind}").first
    path.wait_for(state="attached")
    return [(float(x), float(y)) for x, y in _POINT.findall(path.get_attribute("d") or "")]


def test_the_bands_stand_below_the_other_charts_in_order(charts: Any) -> None:
    titles = [shown(card, TITLE)[0] for card in charts.locator(CARDS).all()]
    assert titles[-len(BANDS) :] == BANDS
    assert not any("over the processes" in title for title in titles[: -len(BANDS)])


def test_each_band_is_drawn_through_every_epoch_around_the_mean(charts: Any) -> None:
    for card in bands_of(charts):
        assert lines_drawn(card) >= 1
        line, area = path_of(card, "line"), path_of(card, "area")
        assert len(line) == EPOCHS_TOGETHER
        assert len(area) == 2 * EPOCHS_TOGETHER  # there along one edge, back along the other
        edges = zip(area[:EPOCHS_TOGETHER], reversed(area[EPOCHS_TOGETHER:]), strict=True)
        for (x, mean), ((x_one, one), (x_other, other)) in zip(line, edges, strict=True):
            assert x == x_one == x_other
            assert mean == pytest.approx((one + other) / 2, abs=0.5)  # in pixels; of two processes


def test_a_straggler_is_a_band_that_can_be_seen(charts: Any) -> None:
    for card in bands_of(charts)[:2]:  # of the forward
        area = card.locator("svg path.area").first
        area.wait_for(state="attached")
        fill, opacity, height_px = area.evaluate(_LOOK)
        assert fill.startswith("rgb(")
        assert float(opacity) > 0.1
        assert height_px > 50


def test_no_chart_is_empty_and_no_tag_missing(open_tab_of_two_processes: OpenTab) -> None:
    page = open_tab_of_two_processes("custom_scalars")
    charts = page.locator("tf-category-paginated-view").first  # of the model, least of it is known
    charts.locator(CARDS).first.wait_for()
    for card in charts.locator(CARDS).all():
        assert lines_drawn(card) >= 1, shown(card, TITLE)
        text = " ".join(shown(card, ".collapsible-list-title, .error-content, #matches-container"))
        assert re.search(r"Matches \([1-9]", text)
        assert "Missing Tags" not in text
        assert "do not match" not in text
