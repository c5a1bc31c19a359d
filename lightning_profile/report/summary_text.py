"""A window's theory beside its counts and measurements, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lightning_profile.records import Comparison, WindowResult
from lightning_profile.report.columns import display_name
from lightning_profile.report.largest_gap import describe_largest_gap
from lightning_profile.report.overview import conditions
from lightning_profile.report.units import format_bytes, format_flop, format_time

_MOST_ROWS = 40
# Few and short: where a table is wider than TensorBoard's card, its words are broken anywhere.
_HEAD = (
    ("row", "---"),
    ("FLOPs by theory", "---:"),
    ("counted", "---:"),
    ("bytes by theory", "---:"),
    ("measured", "---:"),
    ("roofline", "---:"),
    ("time", "---:"),
)


def format_summary(result: WindowResult, trace: Path | None = None) -> str:
    """A table with a row per layer and phase, and where the largest gap is.

    Of many rows those with the longest time are shown, in the model's order.

    Args:
        result: The window's.
        trace: The file with the trace of the last window, if there is one.
    """
    rows = [each for each in result.comparisons if each.layer is not None]
    longest = sorted(rows, key=lambda row: -(row.time_ns or 0))[:_MOST_ROWS]
    shown = {id(row) for row in longest}
    lines = [
        _line(name for name, _ in _HEAD),
        _line(rule for _, rule in _HEAD),
        *(_line(_cells(row)) for row in rows if id(row) in shown),
    ]
    parts = [conditions(result), "\n".join(lines)]
    if len(rows) > len(shown):
        parts.append(f"{len(rows) - len(shown)} rows of less time are in the files.")
    parts.append(describe_largest_gap(rows))
    if trace is not None:  # no link: TensorBoard takes those to files away
        parts.append(
            f"The trace of the last window is `{trace}`: open it at <https://ui.perfetto.dev>."
        )
    return "\n\n".join(parts)


def _cells(row: Comparison) -> list[str]:
    cost, measured, limit = row.cost, row.measured, row.roofline
    return [
        f"{display_name(row)} {'' if row.phase is None else row.phase.value}".rstrip(),
        format_flop(None if cost is None else cost.flop),
        format_flop(None if measured is None else measured.counted_flop),
        format_bytes(None if cost is None else cost.allocated_bytes),
        format_bytes(None if measured is None else measured.allocated_bytes),
        format_time(None if limit is None else limit.time_ns),
        format_time(row.time_ns),
    ]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
