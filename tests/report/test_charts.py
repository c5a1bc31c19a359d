"""Custom Scalars: every chart has tags that are written, and none is empty."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from torch.utils.tensorboard import SummaryWriter

from lightning_profile.records import Phase, Roofline, WindowResult
from lightning_profile.report.charts import Chart, chart_layout
from lightning_profile.report.scalars import scalars
from lightning_profile.report.tensorboard import TensorBoardReport
from tests.report.results import LAYER, SPREAD, comparison, measurement, result

FLOP = "forward: FLOPs per step (one line where all agree)"
AGREE = "all phases: counted over theoretical FLOPs (1: they agree)"
ROOFLINE = Roofline(time_ns=1.0, bound="memory", flop_per_byte=1.0, fraction=0.5)


def charts_of(window: WindowResult) -> dict[str, Chart]:
    return chart_layout([LAYER], scalars(window).keys())["Conv2d-2"]


def test_each_chart_shows_theory_and_measurement_and_nothing_else() -> None:
    kind, patterns = charts_of(result(comparison()))[FLOP]
    tags = list(scalars(result(comparison())))
    shown = [tag for tag in tags if any(re.match(pattern, tag) for pattern in patterns)]
    assert kind == "Multiline"
    assert shown == ["Conv2d-2/forward/theoretical_flop", "Conv2d-2/forward/counted_flop"]


@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.BACKWARD])
def test_every_charted_tag_is_one_that_can_be_written(phase: Phase) -> None:
    limited = comparison(
        roofline=ROOFLINE,
        empirical_roofline=ROOFLINE,
        measured=measurement(device_time_ns=1, kernels=1),
        phase=phase,
    )
    names = {tag.rsplit("/", 1)[1] for tag in scalars(result(limited))}
    names |= {"theoretical_optimizer_state_bytes", "hardware_flop"}
    for kind, patterns in charts_of(result(limited)).values():
        assert kind == "Multiline"
        assert {pattern.rsplit("/", 1)[1].rstrip("$") for pattern in patterns} <= names


@pytest.mark.parametrize("name", ["Conv[2]", "Conv(x", "Conv+"])  # of classes that were made
def test_a_name_with_signs_of_a_regular_expression_is_matched_as_it_is(name: str) -> None:
    layer = replace(LAYER, display_name=f"{name}-1")
    values = scalars(result(comparison(layer=layer)))
    _, patterns = chart_layout([layer], values.keys())[f"{name}-1"][FLOP]
    shown = [tag for tag in values if any(re.match(pattern, tag) for pattern in patterns)]
    assert shown == [f"{name}-1/forward/theoretical_flop", f"{name}-1/forward/counted_flop"]


def test_that_theory_and_count_agree_has_a_chart_of_its_own() -> None:
    _, patterns = charts_of(result(comparison(), comparison(phase=Phase.BACKWARD)))[AGREE]
    for phase in ("forward", "backward"):
        assert any(re.match(pattern, f"Conv2d-2/{phase}/flop_ratio") for pattern in patterns)


def test_a_recompute_has_charts_where_it_ran_and_only_there() -> None:
    window = result(comparison(), comparison(phase=Phase.RECOMPUTE))
    assert any(title.startswith("recompute:") for title in charts_of(window))
    assert not any(title.startswith("recompute:") for title in charts_of(result(comparison())))
    patterns = charts_of(window)[AGREE][1]
    assert any(re.match(pattern, "Conv2d-2/recompute/flop_ratio") for pattern in patterns)


@pytest.mark.parametrize("known", [{}, {"roofline": ROOFLINE}, {"cost": None, "measured": None}])
def test_no_chart_is_empty(known: dict[str, Any]) -> None:
    window = result(comparison(**known))
    charts = charts_of(window)
    for _, patterns in charts.values():
        assert any(re.match(pattern, tag) for pattern in patterns for tag in scalars(window))
    assert ("forward: FLOPs per step (one line where all agree)" in charts) == ("cost" not in known)
    assert ("all phases: fraction of the roofline (1: as fast as can be)" in charts) == (
        "roofline" in known
    )


def test_a_layer_that_never_ran_has_no_charts() -> None:
    other = replace(LAYER, qualified_name="other", display_name="Conv2d-9")
    assert list(chart_layout([LAYER, other], scalars(result(comparison())))) == ["Conv2d-2"]


def test_charts_of_one_title_are_the_same_in_every_run() -> None:
    few = charts_of(result(comparison()))
    measured = measurement(device_time_ns=1, kernels=1)
    many = charts_of(
        result(
            comparison(roofline=ROOFLINE, measured=measured),
            comparison(roofline=ROOFLINE, phase=Phase.RECOMPUTE),
        )
    )
    assert few.keys() < many.keys()
    assert few.items() <= many.items()  # else TensorBoard would show both


def test_what_a_later_window_knows_gets_its_chart(tmp_path: Path) -> None:
    report = TensorBoardReport(SummaryWriter(tmp_path), [LAYER])
    windows = (result(comparison()), result(comparison(roofline=ROOFLINE)), result(comparison()))
    for window in windows:
        report.write_scalars(window)
    first, last = layouts(tmp_path)  # TensorBoard shows the last one
    added = "all phases: fraction of the roofline (1: as fast as can be)"
    assert added not in [chart.title for chart in first.category[0].chart]
    assert added in [chart.title for chart in last.category[0].chart]


def test_several_processes_are_a_band_of_tags_that_are_written(tmp_path: Path) -> None:
    spreads = {("body.conv2", "forward"): {"cpu_time_ns": SPREAD, "peak_allocated_bytes": SPREAD}}
    window = result(comparison(), spreads=spreads)
    bands = {title: tags for title, (kind, tags) in charts_of(window).items() if kind == "Margin"}
    assert list(bands) == [  # TensorBoard shows the last one first
        "forward: peak of allocated bytes over the processes (mean, min to max)",
        "forward: CPU time in ns over the processes (mean, min to max)",
    ]
    values = scalars(window)
    for tags in bands.values():
        assert [values[tag] for tag in tags] == [SPREAD.mean, SPREAD.minimum, SPREAD.maximum]
    TensorBoardReport(SummaryWriter(tmp_path), [LAYER]).write_charts(window)
    (layout,) = layouts(tmp_path)
    margins = [chart.margin for chart in layout.category[0].chart if chart.HasField("margin")]
    assert [each.series[0].lower for each in margins] == [tags[1] for tags in bands.values()]


def layouts(folder: Path) -> list[layout_pb2.Layout]:
    events = EventAccumulator(str(folder)).Reload().Tensors("custom_scalars__config__")
    return [layout_pb2.Layout.FromString(event.tensor_proto.string_val[0]) for event in events]


def test_of_a_time_on_the_device_the_band_is_of_that_one() -> None:
    known = {"cpu_time_ns": SPREAD, "device_time_ns": SPREAD}
    charts = charts_of(result(comparison(), spreads={("body.conv2", "forward"): known}))
    bands = [title for title, (kind, _) in charts.items() if kind == "Margin"]
    assert bands == ["forward: device time in ns over the processes (mean, min to max)"]


def test_of_one_process_there_is_no_band() -> None:
    assert {kind for kind, _ in charts_of(result(comparison())).values()} == {"Multiline"}
