"""Where theory and fact of a window are farthest apart, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lightning_profile.records import Comparison
from lightning_profile.report.columns import display_name
from lightning_profile.report.units import format_bytes, format_flop, format_time

_AGREE = 1.0005  # a factor that is shown as 1.00


@dataclass(frozen=True, slots=True)
class Gap:
    """Theory beside fact for one quantity of a row, both known and not 0.

    Attributes:
        comparison: The row.
        theory: What it should be.
        fact: What was counted or measured.
        sentence: How both are told, with ``{fact}`` and ``{theory}``.
        show: A value with its unit.
    """

    comparison: Comparison
    theory: float
    fact: float
    sentence: str
    show: Callable[[float | None], str]

    @property
    def factor(self) -> float:
        """How many times the greater is the lesser."""
        return max(self.theory / self.fact, self.fact / self.theory)


def describe_largest_gap(comparisons: Sequence[Comparison]) -> str:
    """Which layer, phase and quantity, by what factor, and why if that is known."""
    gaps = [gap for each in comparisons if each.layer is not None for gap in _gaps(each)]
    if not gaps:
        return "No row has both theory and a count or measurement that could be compared."
    largest = max(gaps, key=lambda gap: gap.factor)
    if largest.factor < _AGREE:
        return "Theory agrees with what was counted and measured wherever both are known and not 0."
    row = largest.comparison
    phase = "" if row.phase is None else f", {row.phase.value}"
    values = largest.sentence.format(
        fact=largest.show(largest.fact), theory=largest.show(largest.theory)
    )
    return (
        f"The largest factor between theory and fact is {largest.factor:.3g}: "
        f"{display_name(row)}{phase}, {values}{_reason(largest)}."
    )


def _gaps(row: Comparison) -> Iterator[Gap]:
    cost, measured, limit = row.cost, row.measured, row.roofline
    if measured is None:
        return
    if cost is not None and cost.flop and measured.counted_flop:
        sentence = "counted {fact} beside {theory}"
        yield Gap(row, cost.flop, measured.counted_flop, sentence, format_flop)
    if cost is not None and cost.allocated_bytes and measured.allocated_bytes:
        sentence = "allocated {fact} beside {theory}"
        yield Gap(row, cost.allocated_bytes, measured.allocated_bytes, sentence, format_bytes)
    if limit is not None and limit.time_ns and row.time_ns:
        sentence = "took {fact} beside a roofline of {theory}"
        yield Gap(row, limit.time_ns, row.time_ns, sentence, format_time)


def _reason(gap: Gap) -> str:
    row = gap.comparison
    if gap.show is format_time:
        is_slower = gap.fact > gap.theory
        if is_slower and row.bound == "launch":
            return ", as the device was done before the host had issued the work"
        return ""
    return f" (noted of it: {row.note})" if row.note else ""
