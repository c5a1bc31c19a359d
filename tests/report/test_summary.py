"""The window's summary in TensorBoard: one table, and one sentence that is true of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.records import Comparison, DeviceUse, Phase, Roofline
from lightning_profile.report.largest_gap import describe_largest_gap
from lightning_profile.report.summary_text import format_summary
from tests.conftest import train
from tests.report.results import COST, LAYER, comparison, measurement, result

EQUAL = replace(COST, allocated_bytes=8192)


def took(time_ns: float) -> Roofline:
    return Roofline(time_ns=time_ns, bound="memory", flop_per_byte=1.0, fraction=None)


def rows(*of_theory: float) -> list[Comparison]:
    """Rows that count 1000 FLOP each, allocate 8 KiB and take 2 ms, and their theory."""
    flop, allocated_bytes, roofline_ns = of_theory
    cost = replace(COST, flop=int(flop), allocated_bytes=int(allocated_bytes))
    return [
        comparison(cost=EQUAL, roofline=took(2e6)),
        comparison(cost=cost, roofline=took(roofline_ns), phase=Phase.BACKWARD),
    ]


@pytest.mark.parametrize(
    ("theory", "said"),
    [
        ((500, 8192, 2e6), "2: Conv2d-2, backward, counted 1 kFLOP beside 500 FLOP."),
        ((4000, 8192, 2e6), "4: Conv2d-2, backward, counted 1 kFLOP beside 4 kFLOP."),
        ((1000, 2048, 1e6), "4: Conv2d-2, backward, allocated 8.00 KiB beside 2.00 KiB."),
        ((500, 4096, 2e5), "10: Conv2d-2, backward, took 2 ms beside a roofline of 200 µs."),
        ((1000, 8192, 6e6), "3: Conv2d-2, backward, took 2 ms beside a roofline of 6 ms."),
    ],
)
def test_the_sentence_names_the_largest_factor(theory: tuple[float, ...], said: str) -> None:
    made = rows(*theory)
    expected = f"The largest factor between theory and fact is {said}"
    assert describe_largest_gap(made) == expected
    assert describe_largest_gap(made[::-1]) == expected


def test_where_all_agree_it_says_so() -> None:
    assert describe_largest_gap(rows(1000, 8192, 2e6)).startswith("Theory agrees")


@pytest.mark.parametrize(
    "unknown",
    [
        comparison(cost=None),
        comparison(measured=None),
        comparison(cost=replace(COST, flop=0, allocated_bytes=0)),
        comparison(
            cost=replace(COST, allocated_bytes=None),
            measured=measurement(counted_flop=None),
        ),
        comparison(layer=None, phase=None),
    ],
)
def test_what_is_unknown_or_zero_is_no_gap(unknown: Comparison) -> None:
    assert describe_largest_gap([unknown]).startswith("No row has both")
    known = comparison(cost=replace(EQUAL, flop=500))
    assert ": Conv2d-2, forward, counted" in describe_largest_gap([unknown, known])


def test_a_reason_is_told_if_the_records_have_one_that_fits() -> None:
    noted = comparison(cost=replace(EQUAL, flop=500), note="a product ran twice")
    assert describe_largest_gap([noted]).endswith("(noted of it: a product ran twice).")
    waited = comparison(
        cost=EQUAL,
        roofline=took(1.0),
        note="a product ran twice",
        measured=measurement(
            device_time_ns=1000, kernels=1, wall_time_ns=2_000_000, on_device=DeviceUse()
        ),
    )
    assert waited.bound == "launch"
    text = describe_largest_gap([waited])
    assert text.endswith(", as the device was done before the host had issued the work.")
    assert "ran twice" not in text
    faster = replace(waited, roofline=took(1e9))
    assert describe_largest_gap([faster]).endswith("a roofline of 1 s.")


def test_the_table_has_a_row_per_layer_and_phase() -> None:
    text = format_summary(result(comparison(roofline=took(1e6)), comparison(layer=None)))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 3
    assert table[2] == (
        "| Conv2d-2 forward | 1 kFLOP | 1 kFLOP | 4.00 KiB | 8.00 KiB | 1 ms | 2 ms |"
    )
    assert "batch" not in table[0]
    assert "step of 128 samples (mnist, or so data)" in text


def test_the_unknown_is_called_so() -> None:
    text = format_summary(result(comparison(cost=None, measured=None)))
    assert f"| Conv2d-2 forward |{' unknown |' * 6}" in text


def test_of_many_rows_those_of_the_longest_time_are_shown_in_the_models_order() -> None:
    many = [
        comparison(
            layer=replace(LAYER, display_name=f"Conv2d-{number}"),
            measured=measurement(cpu_time_ns=1000 + number),
        )
        for number in range(60)
    ]
    text = format_summary(result(*many))
    names = [line.split()[1] for line in text.splitlines() if line.startswith("| Conv2d")]
    assert names == [f"Conv2d-{number}" for number in range(20, 60)]
    assert "20 rows of less time are in the files." in text


def test_tensorboard_has_it_for_every_window(tmp_path: Path) -> None:
    train(tmp_path, LayerProfiler("Conv2d-2", Schedule(wait=1)), max_epochs=2)
    (run,) = (tmp_path / "runs").iterdir()
    events = EventAccumulator(str(run)).Reload()
    tag = "(summary)/theory_and_measurement/text_summary"
    found = {e.step: e.tensor_proto.string_val[0].decode() for e in events.Tensors(tag)}
    assert sorted(found) == [2, 10]
    assert all("| Conv2d-2 backward |" in text for text in found.values())
