"""Rows with what the hardware executed, and why it differs or is unknown."""

from __future__ import annotations

from lightning_profile.comparison import with_hardware
from lightning_profile.records import (
    Comparison,
    ExecutedFlop,
    HardwareCount,
    HardwareKernel,
    Phase,
    Unavailable,
    UnavailableCause,
)
from tests.report.results import comparison

KERNEL = HardwareKernel(
    name="gemm",
    executed=(ExecutedFlop(unit="fma", arithmetic="fp32", flop=1000),),
    product_flop=1000,
    elementwise_flop=0,
    dram_read_bytes=64,
    dram_write_bytes=32,
    time_ns=10,
)


def count(calls: int) -> HardwareCount:
    return HardwareCount(
        phase=Phase.FORWARD, calls=calls, kernels=(KERNEL,) * calls, cache_control="all"
    )


def counted(counts: HardwareCount | Unavailable, *, note: str = "") -> Comparison:
    row = comparison(note=note)
    assert row.layer is not None
    key = (row.layer.qualified_name, Phase.FORWARD)
    (result,) = with_hardware([row], {key: counts}, lambda _, flop: f"theory has {flop}")
    return result


def test_a_count_is_shown_with_why_it_differs() -> None:
    row = counted(count(1), note="includes casts")
    assert isinstance(row.hardware, HardwareCount)
    assert row.hardware.hardware_flop == 1000
    assert row.note == "includes casts; theory has 1000"


def test_a_count_of_another_number_of_calls_is_not_shown() -> None:
    row = counted(count(2))
    assert isinstance(row.hardware, Unavailable)
    assert row.note == "no hardware count: the captured step had 2 calls, the recorded one 1"


def test_why_there_is_no_count_is_in_the_note() -> None:
    row = counted(Unavailable(cause=UnavailableCause.NO_TOOL, reason="no ncu", remedy="install it"))
    assert row.note == "no hardware count: no ncu: install it"


def test_a_row_that_was_not_counted_stays_as_it_is() -> None:
    row = comparison()
    assert with_hardware([row], {}, lambda _, flop: f"theory has {flop}") == [row]
