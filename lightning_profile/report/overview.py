"""One table of all layers of a window: where the step's FLOPs and time go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lightning_profile.records import Comparison, WindowResult, sum_or_unknown
from lightning_profile.report.columns import display_name
from lightning_profile.report.units import (
    UNKNOWN,
    format_flop,
    format_ratio,
    format_share,
    format_time,
)

_LEGEND = (
    "FLOPs are those of products. Theoretical: pen and paper. Counted: by formula over the "
    "operators that ran. The files have memory, rooflines and the rest."
)
_NOTES_SHOWN = 8
_ROWS_NAMED = 3  # for each of them


def conditions(result: WindowResult) -> str:
    """What the numbers of a window are of."""
    data = f" ({result.dataset} data)" if result.dataset else ""
    steps = len(result.steps)
    times = " Times are of one step." if steps == 1 else f" Times are the median of {steps} steps."
    return (
        f"Per {'training' if result.stage == 'train' else 'validation'} step of "
        f"{result.batch_size or UNKNOWN} samples{data}, epoch {result.epoch}, on "
        f"{result.device.name} with {result.device.threads} CPU threads.{times}"
    )


def overview_table(result: WindowResult) -> Table:
    """A row per layer and phase, the optimizer, the rest of the step, and the total."""
    has_device = any(_device_time_ns(each) is not None for each in result.comparisons)
    table = Table(
        title="What the layers should cost, what they cost",
        caption=(f"{conditions(result)} {_LEGEND}{_total_legend(result)}{_notes(result)}"),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0),
    )
    table.add_column("layer", overflow="fold")  # the one that gives way in a narrow window
    table.add_column("phase", no_wrap=True)
    time = "device time" if has_device else "CPU time"
    for column in ("theoretical", "counted", "ratio", time, "share"):
        table.add_column(column, justify="right", no_wrap=True)
    total_ns = sum(_own_time_ns(each) for each in result.comparisons)
    for _, rows in groupby(result.comparisons, key=_names):
        for position, comparison in enumerate(rows):
            table.add_row(_name(comparison, position), *_cells(comparison, total_ns))
    table.add_section()
    table.add_row("total", "", "", _total_flop(result), "", format_time(total_ns), "")
    return table


def _names(comparison: Comparison) -> list[str]:
    """What the row is called, in as many lines."""
    if comparison.layer is None:
        return [display_name(comparison)]
    return [display_name(comparison), f"  {comparison.layer.qualified_name}"]


def _name(comparison: Comparison, position: int) -> str:
    """A layer's names below each other, beside its phases."""
    names = _names(comparison)
    return names[position] if position < len(names) else ""


def _cells(comparison: Comparison, total_ns: int) -> list[str]:
    cost, measured, layer = comparison.cost, comparison.measured, comparison.layer
    time_ns = comparison.time_ns
    return [
        comparison.phase.value if comparison.phase is not None else "",
        "" if layer is None else format_flop(cost.flop if cost is not None else None),
        format_flop(measured.counted_flop if measured is not None else None),
        "" if comparison.flop_ratio is None else format_ratio(comparison.flop_ratio),
        format_time(time_ns),
        "" if time_ns is None or not total_ns else format_share(time_ns / total_ns),
    ]


def _notes(result: WindowResult) -> str:
    """Why something is unknown, each reason once with the rows that it is true of."""
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for each in result.comparisons:
        for reason in filter(None, each.note.split("; ")):
            phase = "" if each.phase is None else f" {each.phase.value}"
            reasons[reason].append(f"{display_name(each)}{phase}")
    commonest = sorted(reasons.items(), key=lambda reason: len(reason[1]), reverse=True)
    lines = [f"\n· {reason} ({_listed(rows)})" for reason, rows in commonest[:_NOTES_SHOWN]]
    if len(reasons) > _NOTES_SHOWN:
        lines.append(f"\n· {len(reasons) - _NOTES_SHOWN} more reasons in the files' notes")
    return "".join(lines)


def _total_legend(result: WindowResult) -> str:
    if not any(each.layer is not None and each.layer.is_container for each in result.comparisons):
        return ""
    return " A container's row sums what ran inside of it; the total counts everything once."


def _listed(rows: Sequence[str]) -> str:
    if len(rows) <= _ROWS_NAMED:
        return ", ".join(rows)
    return f"{', '.join(rows[:_ROWS_NAMED])} and {len(rows) - _ROWS_NAMED} more rows"


def _total_flop(result: WindowResult) -> str:
    return format_flop(
        sum_or_unknown(
            [each.measured.own.counted_flop for each in result.comparisons if each.measured]
        )
    )


def _own_time_ns(comparison: Comparison) -> int:
    if comparison.measured is None:
        return 0
    own, on_device = comparison.measured.own, comparison.measured.on_device
    if own.device_time_ns is None and on_device is None:
        return own.cpu_time_ns
    return own.device_time_ns or 0  # of a CUDA graph it is unknown


def _device_time_ns(comparison: Comparison) -> int | None:
    return None if comparison.measured is None else comparison.measured.device_time_ns
