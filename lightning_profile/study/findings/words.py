"""How findings name batch sizes, rows and shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning_profile.study.departures import Departure
from lightning_profile.study.series import RowKey, Series, row_name

_SHOWN = 3


def sizes(batch_sizes: Sequence[int]) -> str:
    """Such as ``batch size 16`` or ``batch sizes 16, 32 and 64``."""
    return f"batch size{'' if len(batch_sizes) == 1 else 's'} {listed(map(str, batch_sizes))}"


def listed(parts: Iterable[str]) -> str:
    """Such as ``a, b and c``."""
    *first, last = list(parts)
    return f"{', '.join(first)} and {last}" if first else last


def rows_named(rows: Sequence[RowKey]) -> str:
    """The rows by name; of many the first few, and how many more there are."""
    names = [row_name(row) for row in rows[:_SHOWN]]
    more = len(rows) - _SHOWN
    return listed([*names, f"{more} more"] if more > 0 else names)


def percent(share: float) -> str:
    """A part of a whole, such as ``3.1%``; two digits are enough to tell it by."""
    magnitude = abs(share)
    return f"{magnitude:.0%}" if magnitude >= 0.1 else f"{magnitude:.1%}"


def times(ratio: float) -> str:
    """How many times, to three digits, such as ``1.21`` or ``3,520``."""
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:,.0f}"


def off_line(series: Series, departures: Sequence[Departure]) -> str:
    """Where values leave a line, and where by the most."""
    worst = max(departures, key=lambda each: abs(each.share))
    show = series.quantity.format
    where = sizes([each.batch_size for each in departures])
    farthest = "" if len(departures) == 1 else f"by the most at {worst.batch_size}: "
    return f"{where} ({farthest}{show(worst.value)}, on the line {show(worst.on_line)})"
