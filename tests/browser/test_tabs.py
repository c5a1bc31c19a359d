"""What a person sees in TensorBoard's tabs without clicking around."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import BATCH_SIZES, RUN, STUDY

GROUPS = ["Conv2d-2", "epoch", "optimizer", "rest-of-step", "test", "train", "val"]
FIRST_CARDS = {f"Conv2d-2/backward/{name}" for name in ("allocated_bytes", "counted_flop")} | {
    f"Conv2d-2/backward/{name}" for name in ("cpu_time_ns", "flop_per_s", "flop_ratio")
}
PHASES = ("forward", "backward")
KEPT = ("parameter_bytes", "gradient_bytes", "optimizer_state_bytes", "activation_bytes")
# By title, in order: the group of tags, and what is drawn of it.
CHARTS: Mapping[str, tuple[str, set[str]]] = (
    {
        f"{phase}: {title}": (f"{phase}/", lines)
        for phase in PHASES
        for title, lines in (
            ("FLOPs per step (one line where all agree)", {"theoretical_flop", "counted_flop"}),
            (
                "bytes allocated per step",
                {"theoretical_allocated_bytes", "allocated_bytes", "peak_allocated_bytes"},
            ),
            ("time per step in ns", {"roofline_time_ns", "cpu_time_ns"}),
        )
    }
    | {
        f"all phases: {title}": ("", {f"{phase}/{line}" for phase in PHASES})
        for title, line in (
            ("FLOP/s achieved", "flop_per_s"),
            ("counted over theoretical FLOPs (1: they agree)", "flop_ratio"),
            ("measured over theoretical bytes (1: they agree)", "allocated_ratio"),
            ("fraction of the roofline (1: as fast as can be)", "roofline_fraction"),
        )
    }
    | {
        "bytes kept in memory": ("memory/", {*KEPT, *(f"theoretical_{name}" for name in KEPT)}),
    }
)
# By the run that they are of, in TensorBoard's order.
IMAGES: Mapping[str, Sequence[str]] = {
    RUN: [f"(figures)/{kind}" for kind in ("kernels", "memory", "roofline")],
    STUDY: [
        "(batch_size_study)/(step)/memory",
        "(batch_size_study)/(step)/time",
        "(batch_size_study)/Conv2d-2/flop",
        "(batch_size_study)/Conv2d-2/memory",
        "(batch_size_study)/Conv2d-2/rate",
        "(batch_size_study)/Conv2d-2/roofline",
        "(batch_size_study)/Conv2d-2/time",
    ],
}
WIDTHS_PX = {RUN: 350, STUDY: 700}
METRIC_BYTES = "peak_allocated_bytes"
FORWARD_FLOP = (
    "FLOPs = 2 · N · C_out · H_out · W_out · C_in · K_H · K_W "
    "= 2 · 8 · 64 · 24 · 24 · 32 · 3 · 3 = 169,869,312 FLOP"
)
TEXTS = "h3, p, li, pre"
_DRAWING_POLLS, _POLL_MS = 100, 100

OpenTab = Callable[[str], Any]


def shown(place: Any, selector: str) -> list[str]:
    """The texts of what can be seen, once there is some."""
    found = place.locator(f"{selector} >> visible=true")
    found.first.wait_for()
    return [" ".join(text.split()) for text in found.all_inner_texts()]


def lines_drawn(card: Any) -> int:
    """Lines of a chart that join two points at least, once there are some."""
    lines = card.locator("svg path.line")
    lines.first.wait_for(state="attached")
    for _ in range(_DRAWING_POLLS):
        drawn = sum("L" in (path or "") for path in _attributes(lines, "d"))
        if drawn:
            return drawn
        card.page.wait_for_timeout(_POLL_MS)
    return 0


def _attributes(found: Any, name: str) -> list[str | None]:
    return found.evaluate_all(f"paths => paths.map(path => path.getAttribute('{name}'))")


def wait_for_images(images: Any, count: int) -> None:
    images.nth(count - 1).wait_for()
    for number in range(count):
        images.nth(number).evaluate("image => image.decode()")  # fails where it can't be shown


def test_scalars_are_grouped_by_layer_and_the_first_group_is_open(open_tab: OpenTab) -> None:
    page = open_tab("scalars")
    titles = shown(page, "tf-scalar-card .heading-label.name")
    groups = shown(page, ".category-name")
    assert groups == GROUPS
    assert set(titles) >= FIRST_CARDS
    cards = page.locator("tf-scalar-card")
    assert cards.count() >= 12  # a page of them
    assert lines_drawn(cards.filter(has_text="Conv2d-2/backward/counted_flop").first) >= 1


def test_each_chart_has_the_lines_of_theory_and_measurement(open_tab: OpenTab) -> None:
    page = open_tab("custom_scalars")
    cards = page.locator("tf-custom-scalar-multi-line-chart-card")
    cards.first.locator(".match-list-entry").first.wait_for(state="attached")
    found = {}
    for card in cards.all():
        (title,) = shown(card, ".heading-label.name")
        legend = [text.split() for text in card.locator(".match-list-entry").all_text_contents()]
        found[title] = {tag for _, tag, run in legend if run == f"({RUN})"}
        assert lines_drawn(card) >= 1, title
    assert list(found) == list(CHARTS)
    assert page.locator("tf-custom-scalar-margin-chart-card").count() == 0  # of one process
    for title, (group, lines) in CHARTS.items():
        assert found[title] == {f"Conv2d-2/{group}{line}" for line in lines}


def test_the_derivation_stands_there_with_numbers(open_tab: OpenTab) -> None:
    page = open_tab("text")
    cards = page.locator("tf-text-loader").filter(has_text=RUN)
    card = cards.filter(has_text="(summary)/theory_derivation/Conv2d-2/text_summary").first
    card.locator("pre").first.wait_for()
    text = "\n".join(shown(card, TEXTS))
    assert FORWARD_FLOP in text
    assert "Training data: digits." in text


def test_a_table_has_theory_beside_count_and_measurement(open_tab: OpenTab) -> None:
    page = open_tab("text")
    cards = page.locator("tf-text-loader").filter(has_text=RUN)
    card = cards.filter(has_text="(summary)/theory_and_measurement/text_summary").first
    card.locator("tbody tr").first.wait_for()
    text = "\n".join(shown(card, "td, th, p"))
    assert "169.9 MFLOP" in text  # of the forward of 8 images
    assert "Theory agrees with what was" in text or "The largest factor between" in text


def test_the_text_says_where_the_trace_is_and_links_to_what_opens_it(open_tab: OpenTab) -> None:
    page = open_tab("text")
    cards = page.locator("tf-text-loader").filter(has_text=RUN)
    card = cards.filter(has_text="(summary)/theory_and_measurement/text_summary").first
    link = card.get_by_role("link", name="https://ui.perfetto.dev").first
    link.wait_for()
    assert link.get_attribute("href") == "https://ui.perfetto.dev"
    (path,) = {Path(text) for text in shown(card, "code")}
    assert path.is_absolute()
    assert path.parts[-4:] == ("logs", *RUN.split("/"), "trace_train.json.gz")
    assert path.exists()


def test_the_findings_of_a_study_are_the_first_text(open_tab: OpenTab) -> None:
    page = open_tab("text")
    card = page.locator("tf-text-loader").first
    card.locator("li").first.wait_for()
    text = "\n".join(shown(card, TEXTS))
    assert "Conv2d-2 forward 57,600 FLOPs per sample" in text
    assert len(shown(card, "tbody tr")) == len(BATCH_SIZES)
    assert "\\" not in text  # of Markdown that was not understood


def test_a_run_is_a_row_of_hparams_with_how_it_was_started_and_what_came_out(
    open_tab: OpenTab,
) -> None:
    page = open_tab("hparams")
    page.get_by_text(RUN, exact=True).first.wait_for()
    conditions = ("batch_size", "precision", "device", "cpu", "32-true")
    metrics = (f"{phase}/{name}" for phase in PHASES for name in ("flop_per_s", METRIC_BYTES))
    accuracy = ("val/accuracy", "test/accuracy")
    for text in (*conditions, *accuracy, *(f"Conv2d-2/{metric}" for metric in metrics)):
        page.get_by_text(text, exact=True).first.wait_for(state="attached")


@pytest.mark.parametrize("run", IMAGES)
def test_images_are_open_and_loaded(open_tab: OpenTab, run: str) -> None:
    page = open_tab("images")
    cards = page.locator("tf-image-loader").filter(has_text=run)
    images = cards.locator("img")
    wait_for_images(images, len(IMAGES[run]))
    titles = [shown(card, ".heading-label.name")[0] for card in cards.all()]
    assert titles == IMAGES[run]
    widths = images.evaluate_all("all => all.map(one => one.naturalWidth)")
    assert widths == [WIDTHS_PX[run]] * len(titles)
    assert all(box["width"] > 200 for box in (image.bounding_box() for image in images.all()))


def test_the_tab_that_opens_first_begins_with_the_study(open_tab: OpenTab) -> None:
    page = open_tab("timeseries")
    tags = sorted([*IMAGES[STUDY], *IMAGES[RUN]])
    wait_for_images(page.locator("image-card img"), len(tags))
    assert [
        "".join(text.split()) for text in page.locator("image-card .tag").all_inner_texts()
    ] == list(tags)
    groups = ["(batch_size_study)", "(figures)", "Conv2d-2"]
    assert shown(page, ".group-title")[1:4] == groups
