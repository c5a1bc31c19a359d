"""Each row of a window with what the hardware executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lightning_profile.records import (
    Comparison,
    HardwareCount,
    Phase,
    Unavailable,
    UnavailableCause,
)


def with_hardware(
    comparisons: Sequence[Comparison],
    hardware: Mapping[tuple[str, Phase], HardwareCount | Unavailable],
    reason_of: Callable[[HardwareCount, int], str],
) -> list[Comparison]:
    """The same rows; a note says why a count differs from theory, or why there is none.

    Args:
        comparisons: Theory beside measurement.
        hardware: The counts, by qualified name and phase; rows without one stay as they are.
        reason_of: Why executed and theoretical FLOPs differ, empty if they don't.
    """
    return [_with_count(each, hardware, reason_of) for each in comparisons]


def _other_calls(count: HardwareCount, comparison: Comparison) -> Unavailable:
    return Unavailable(
        cause=UnavailableCause.NOT_CAPTURED,
        reason=(f"the captured step had {count.calls} calls, the recorded one {comparison.calls}"),
    )


def _with_count(
    comparison: Comparison,
    hardware: Mapping[tuple[str, Phase], HardwareCount | Unavailable],
    reason_of: Callable[[HardwareCount, int], str],
) -> Comparison:
    if comparison.layer is None or comparison.phase is None:
        return comparison
    count = hardware.get((comparison.layer.qualified_name, comparison.phase))
    if count is None:
        return comparison
    if isinstance(count, HardwareCount) and count.calls != comparison.calls:
        count = _other_calls(count, comparison)
    if isinstance(count, Unavailable):
        reason = f"no hardware count: {count.text}"
    elif comparison.cost is None:
        reason = ""
    else:
        reason = reason_of(count, comparison.cost.flop)
    note = "; ".join(part for part in (comparison.note, reason) if part)
    return replace(comparison, hardware=count, note=note)
