from __future__ import annotations

from typing import Any

import pytest

from lightning_profile.comparison import roofline

# A device of 100 GFLOP/s and 10 GB/s: its two limits meet at 10 FLOP per byte.
DEVICE: dict[str, Any] = {"flop_per_s": 100e9, "bytes_per_s": 10e9}


def test_much_arithmetic_on_few_bytes_is_bound_by_compute() -> None:
    # 4,000 FLOP take 40 ns, 100 bytes take 10 ns.
    line = roofline(flop=4000, traffic_bytes=100, measured_time_ns=160, **DEVICE)
    assert (line.time_ns, line.bound, line.flop_per_byte) == (40.0, "compute", 40.0)
    assert line.fraction == 0.25


def test_little_arithmetic_on_many_bytes_is_bound_by_memory() -> None:
    # 500 FLOP take 5 ns, 1,000 bytes take 100 ns.
    line = roofline(flop=500, traffic_bytes=1000, measured_time_ns=200, **DEVICE)
    assert (line.time_ns, line.bound, line.flop_per_byte) == (100.0, "memory", 0.5)
    assert line.fraction == 0.5


def test_where_the_limits_meet_compute_is_named() -> None:
    line = roofline(flop=1000, traffic_bytes=100, **DEVICE)
    assert (line.time_ns, line.bound, line.fraction) == (10.0, "compute", None)


def test_the_worked_example_on_an_h200() -> None:
    # Conv2d-2, batch 128, forward: 2,717,908,992 FLOP; input 128·32·26·26, output 128·64·24·24
    # and 18,432 weights of 4 bytes.
    traffic_bytes = 4 * (2_768_896 + 4_718_592 + 18_432)
    line = roofline(
        flop=2_717_908_992,
        traffic_bytes=traffic_bytes,
        flop_per_s=494.7e12,
        bytes_per_s=4.8e12,
        measured_time_ns=56_000,
    )
    assert line.bound == "memory"
    assert line.time_ns == pytest.approx(6_255, abs=1)
    assert line.fraction == pytest.approx(0.1117, abs=1e-4)


@pytest.mark.parametrize("unknown", ["flop", "traffic_bytes", "flop_per_s", "bytes_per_s"])
def test_with_anything_unknown_there_is_no_roofline(unknown: str) -> None:
    known: dict[str, Any] = {"flop": 1000, "traffic_bytes": 100, "measured_time_ns": 5, **DEVICE}
    line = roofline(**(known | {unknown: None}))
    assert (line.time_ns, line.bound, line.fraction) == (None, None, None)
    assert line.flop_per_byte == (10.0 if unknown.endswith("_per_s") else None)


def test_nothing_to_do_takes_no_time_and_has_no_bound() -> None:
    line = roofline(flop=0, traffic_bytes=0, measured_time_ns=0, **DEVICE)
    assert (line.time_ns, line.bound, line.flop_per_byte) == (0.0, None, None)
    assert line.fraction is None


def test_a_layer_that_only_moves_data_is_bound_by_memory() -> None:
    line = roofline(flop=0, traffic_bytes=100, measured_time_ns=20, **DEVICE)
    assert (line.time_ns, line.bound, line.flop_per_byte, line.fraction) == (10, "memory", 0, 0.5)


def test_work_without_products_has_no_arithmetic() -> None:
    lines = [roofline(flop=flop, traffic_bytes=1, arithmetic="tf32", **DEVICE) for flop in (1, 0)]
    assert [line.arithmetic for line in lines] == ["tf32", None]
