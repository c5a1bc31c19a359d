"""Custom Scalars: every chart has tags that are written, and shows nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from torch.utils.tensorboard import SummaryWriter

from lightning_profile.records import Phase, Roofline
from lightning_profile.report.charts import chart_layout
from lightning_profile.report.scalars import scalars
from lightning_profile.report.tensorboard import TensorBoardReport
from tests.report.results import LAYER, SPREAD, comparison, measurement, result

FLOP = "forward: FLOPs per step (one line where all agree)"
ROOFLINE = Roofline(time_ns=1.0, bound="memory", flop_per_byte=1.0, fraction=0.5)


def test_each_chart_shows_theory_and_measurement_and_nothing_else() -> None:
    kind, patterns = chart_layout([LAYER], result())["Conv2d-2"][FLOP]
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
    names.add("theoretical_optimizer_state_bytes")
    for kind, patterns in chart_layout([LAYER], result(limited))["Conv2d-2"].values():
        assert kind == "Multiline"
        assert {pattern.rsplit("/", 1)[1].rstrip("$") for pattern in patterns} <= names


def test_that_theory_and_count_agree_has_a_chart_of_its_own() -> None:
    charts = chart_layout([LAYER], result())["Conv2d-2"]
    _, patterns = charts["all phases: counted over theoretical FLOPs (1: they agree)"]
    assert patterns == ["Conv2d-2/forward/flop_ratio$", "Conv2d-2/backward/flop_ratio$"]


def test_a_recompute_has_charts_where_it_ran_and_only_there() -> None:
    window = result(comparison(), comparison(phase=Phase.RECOMPUTE))
    other = replace(LAYER, qualified_name="other", display_name="Conv2d-9")
    layout = chart_layout([LAYER, other], window)
    assert any(title.startswith("recompute:") for title in layout["Conv2d-2"])
    assert not any(title.startswith("recompute:") for title in layout["Conv2d-9"])
    ratios = layout["Conv2d-2"]["all phases: counted over theoretical FLOPs (1: they agree)"]
    assert "Conv2d-2/recompute/flop_ratio$" in ratios[1]


def test_several_processes_are_a_band_of_tags_that_are_written(tmp_path: Path) -> None:
    spreads = {("body.conv2", "forward"): {"cpu_time_ns": SPREAD, "peak_allocated_bytes": SPREAD}}
    window = result(comparison(), spreads=spreads)
    charts = chart_layout([LAYER], window)["Conv2d-2"]
    bands = {title: tags for title, (kind, tags) in charts.items() if kind == "Margin"}
    assert list(bands) == [
        "forward: time over the processes",
        "forward: peak of allocated bytes over the processes",
    ]
    values = scalars(window)
    for tags in bands.values():
        assert [values[tag] for tag in tags] == [SPREAD.mean, SPREAD.minimum, SPREAD.maximum]
    TensorBoardReport(SummaryWriter(tmp_path), [LAYER]).write(window)
    (event,) = EventAccumulator(str(tmp_path)).Reload().Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    margins = [chart.margin for chart in layout.category[0].chart if chart.HasField("margin")]
    assert [each.series[0].lower for each in margins] == [tags[1] for tags in bands.values()]


def test_of_one_process_there_is_no_band() -> None:
    charts = chart_layout([LAYER], result())["Conv2d-2"]
    assert {kind for kind, _ in charts.values()} == {"Multiline"}
