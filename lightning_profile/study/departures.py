"""Where a series leaves its straight line, and why, as far as what was recorded tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lightning_profile.report.units import format_bytes
from lightning_profile.study.point import Row
from lightning_profile.study.series import Series
from lightning_profile.study.workspace import thresholds

_TOLERANCE_OF_COUNTS = 1e-3
TOLERANCE_OF_TIMES = 0.1  # of a clock on a machine that does other things too
SEGMENT_BYTES = 2 * 2**20  # in which CUDA's allocator takes memory from the device
_JUMP = 2  # times
FEW_PAGE_FAULTS = 10  # per sample
_NAMES_SHOWN = 2
_LONGEST_NAME = 120
_LENGTH_OF_END = 30  # of a longer one
UNEXPLAINED = "no reason seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """One batch size at which a value is not on the line of its series.

    Attributes:
        batch_size: Where.
        value: What it is.
        on_line: What the line says.
        reason: Why, or that no reason was seen.
        brief: The same without the names of kernels and the sizes of blocks, for a table.
    """

    batch_size: int
    value: float
    on_line: float
    reason: str = ""
    brief: str = ""

    @property
    def share(self) -> float:
        """How far it is from the line, as a part of the line's value or its own if that is 0."""
        return (self.value - self.on_line) / (abs(self.on_line) or abs(self.value))


def departures(series: Series, rows: Mapping[int, Row]) -> list[Departure]:
    """Where ``series`` leaves its line; empty if it does not, or has none.

    A count leaves it by a thousandth, a time by a tenth and if none of the recorded steps was as
    the line says.

    Args:
        series: A quantity over the batch sizes.
        rows: Its row at each of them.
    """
    line = series.line
    if line is None or line.r_squared is None:
        return []
    found = []
    for size, value in series.values.items():
        on_line = float(line.at(size))
        departure = Departure(batch_size=size, value=value, on_line=on_line)
        least, greatest = series.ranges.get(size, (value, value))
        tolerance = _TOLERANCE_OF_COUNTS if series.quantity.is_exact else TOLERANCE_OF_TIMES
        if abs(value - on_line) > tolerance * abs(value) and not least <= on_line <= greatest:
            reasons = _reasons(series, rows, departure)
            found.append(
                replace(
                    departure,
                    reason="; ".join(each.text for each in reasons),
                    brief="; ".join(dict.fromkeys(each.brief for each in reasons)),
                )
            )
    return found


class _Reason(NamedTuple):
    text: str
    brief: str


def _reasons(series: Series, rows: Mapping[int, Row], departure: Departure) -> Sequence[_Reason]:
    causes: Sequence[Callable[[Series, Mapping[int, Row], Departure], _Reason | None]] = (
        (_rounding, _segments, _workspace, _algorithm)
        if series.quantity.unit == "B"
        else (_disturbance, _algorithm, _launch, _roofline_bound, _page_faults)
        if series.quantity.unit == "ns"
        else (_algorithm,)
    )
    found = [cause(series, rows, departure) for cause in causes]
    return [each for each in found if each] or [_Reason(UNEXPLAINED, UNEXPLAINED)]


def _disturbance(series: Series, rows: Mapping[int, Row], departure: Departure) -> _Reason | None:
    if departure.batch_size not in series.disturbed:
        return None
    return _Reason("disturbed: threads often had to leave their CPU", "disturbed")


def _rounding(series: Series, rows: Mapping[int, Row], departure: Departure) -> _Reason | None:
    """What stays allocated beside theory's tensors, where the recorded blocks add up to it."""
    values = rows[departure.batch_size].values
    theory = series.theory.get(departure.batch_size)
    if theory is None or series.quantity.name != "allocated_bytes" or departure.value == theory:
        return None
    extra = departure.value - theory
    parts = {
        "the allocator's rounding to whole blocks": values.get("rounding_bytes"),
        "kept beside theory's tensors": values.get("other_kept_bytes"),
        "theory's tensors that were not allocated": values.get("memory_residual_bytes"),
    }
    if sum(part or 0 for part in parts.values()) != extra:
        return None
    there = {name: format_bytes(abs(part)) for name, part in parts.items() if part}
    return _Reason("; ".join(f"{name}, {size}" for name, size in there.items()), "; ".join(there))


def _segments(series: Series, rows: Mapping[int, Row], departure: Departure) -> _Reason | None:
    """Memory is reserved in whole segments and kept from what was freed."""
    is_held = series.quantity.name in ("reserved_bytes", "cached_bytes", "peak_reserved_bytes")
    if not is_held or any(value % SEGMENT_BYTES for value in series.values.values()):
        return None
    text = f"memory is reserved in segments of {format_bytes(SEGMENT_BYTES)} and more, and kept"
    return _Reason(text, "reserved in segments")


def _workspace(series: Series, rows: Mapping[int, Row], departure: Departure) -> _Reason | None:
    """Scratch that jumps; that it does is no reason why it does."""
    if series.quantity.name == "workspace_bytes":
        return None
    beside = [each for each in thresholds(rows) if departure.batch_size in (each.below, each.above)]
    if not beside:
        return None
    text = "; ".join(f"workspace per sample at {each.above}: {each}" for each in beside)
    return _Reason(text, "a jump of the workspace")


def _algorithm(series: Series, rows: Mapping[int, Row], departure: Departure) -> _Reason | None:
    """Other kernels, or operators, than at the neighbour."""
    other = neighbour(list(rows), departure.batch_size)
    if other is None:
        return None
    change = algorithm_change(rows[other], rows[departure.batch_size])
    if change is None:
        return None
    return _Reason(f"{change}, unlike at batch size {other}", "another algorithm")


def algorithm_change(before: Row, after: Row) -> str | None:
    """What runs in ``after`` in place of what ran in ``before``; ``None`` if it is the same."""
    old, new = before.algorithms, after.algorithms
    if not old or not new or set(old) == set(new):
        return None
    added = [name for name in new if name not in old]
    gone = [name for name in old if name not in new]
    parts = []
    if added:
        parts.append(f"runs {_names(added)}")
    if gone:
        parts.append(f"no longer {_names(gone)}" if added else f"no longer runs {_names(gone)}")
    return " and ".join(parts)


def _launch(series: Series, rows: Mapping[int, Row], departure: Departure) -> _Reason | None:
    if rows[departure.batch_size].bound != "launch":
        return None
    return _Reason("bound by launches: the device waits for the host", "bound by launches")


def _roofline_bound(
    series: Series, rows: Mapping[int, Row], departure: Departure
) -> _Reason | None:
    """On another side of the roofline's knee than the largest batch."""
    here, last = rows[departure.batch_size].bound, rows[max(rows)].bound
    if {here, last} != {"memory", "compute"}:
        return None
    text = f"below the roofline's knee: bound by {here}, at batch size {max(rows)} by {last}"
    return _Reason(text, "below the roofline's knee")


def _page_faults(series: Series, rows: Mapping[int, Row], departure: Departure) -> _Reason | None:
    """More or fewer pages from the operating system than at the largest batch."""
    last = max(rows)
    faults = [rows[size].values.get("page_faults") for size in (departure.batch_size, last)]
    if faults[0] is None or faults[1] is None:
        return None
    here, there = faults[0] / departure.batch_size, faults[1] / last
    if max(here, there) <= _JUMP * max(FEW_PAGE_FAULTS, min(here, there)):
        return None
    few, many = f"next to no page faults, at batch size {last}", "per sample of the step"
    if here <= FEW_PAGE_FAULTS:
        return _Reason(f"{few} {there:.3g} {many}", "next to no page faults")
    others = f"{there:.3g}" if there > FEW_PAGE_FAULTS else "next to none"
    text = f"{here:.3g} page faults {many}, at batch size {last} {others}"
    return _Reason(text, "page faults")


def neighbour(sizes: Sequence[int], batch_size: int) -> int | None:
    """The next smaller batch size, of the smallest the next larger."""
    smaller = [size for size in sizes if size < batch_size]
    larger = [size for size in sizes if size > batch_size]
    return max(smaller) if smaller else min(larger, default=None)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    quoted = [f"`{_short(name).replace('`', '')}`" for name in names[:_NAMES_SHOWN]]
    return ", ".join(quoted) + more


def _short(name: str) -> str:
    """Without the arguments' types, and without the middle if it is still too long.

    Such names begin with tile sizes and end with how the product is split: both tell them apart.
    """
    name = name.removeprefix("void ")
    head = name.partition("(")[0] or name
    if len(head) <= _LONGEST_NAME:
        return head
    return f"{head[: _LONGEST_NAME - _LENGTH_OF_END]}…{head[-_LENGTH_OF_END:]}"
