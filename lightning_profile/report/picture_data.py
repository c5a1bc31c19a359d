"""What a window's pictures show, as plain data for the process that draws them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from lightning_profile.records import ROOT_NAME, Ceilings, Comparison, KernelKind, WindowResult
from lightning_profile.report.columns import display_name
from lightning_profile.report.units import UNKNOWN, format_bytes, format_rate, format_time

Data = dict[str, Any]

_MOST_ROWS = 14  # of a picture with bars: those are the largest
_MOST_OPERATORS = 6  # of a picture without kernels, beside all others
_MEMORY_KINDS = ("of these, allocated", "rounding", "other, kept", "other, temporary")
_OTHER = "other"
# The own time of a range, such as an optimizer's step with Lightning's closure in it, is Python's.
_RANGES = ("Optimizer.", "lightning_profile.")
_PYTHON = "Python between operators"
_AROUND_A_NODE = "autograd::engine::evaluate_function: "  # what the engine does around it


def picture_data(result: WindowResult) -> dict[str, Data]:
    """Data by the kind of picture; what has nothing to show has no picture."""
    conditions = ", ".join(
        [
            result.stage,
            f"epoch {result.epoch}, step {result.global_step}",
            f"batch {result.batch_size or UNKNOWN}",
            result.device.name,
        ]
    )
    rows = _without_containers(result.comparisons)
    made = {
        "roofline": _roofline(result, [row for row in rows if row.layer is not None]),
        "memory": _memory([row for row in rows if row.layer is not None]),
        "kernels": _kernels(rows),
    }
    return {
        kind: data | {"conditions": conditions} for kind, data in made.items() if data is not None
    }


def _without_containers(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Without those whose layers have rows of their own: these would be shown twice."""
    names = {each.layer.qualified_name for each in comparisons if each.layer is not None}
    around = {
        name[:position]
        for name in names
        for position, character in enumerate(name)
        if character == "."
    }
    if len(names) > 1:
        around.add(ROOT_NAME)
    return [
        each
        for each in comparisons
        if each.layer is None or each.layer.qualified_name not in around
    ]


def _name(comparison: Comparison) -> str:
    phase = "" if comparison.phase is None else f" {comparison.phase.value}"
    return f"{display_name(comparison)}{phase}"


def _roofline(result: WindowResult, rows: Sequence[Comparison]) -> Data | None:
    points = []
    missing: Counter[str] = Counter()
    for row in rows:
        limit, rate = row.roofline or row.empirical_roofline, row.flop_per_s
        if limit is not None and limit.flop_per_byte and rate is not None and row.phase is not None:
            points.append(
                {
                    "name": f"{_name(row)}, {format_time(row.time_ns)}",
                    "phase": row.phase.value,
                    "flop_per_byte": limit.flop_per_byte,
                    "flop_per_s": rate,
                    "time_ns": row.time_ns,
                }
            )
        elif row.cost is not None and row.cost.flop == 0:
            missing["without products"] += 1
        elif row.time_ns is None:
            missing["not measured"] += 1
        else:
            missing["of unknown roofline"] += 1
    if not points:
        return None
    return {
        "points": points,
        "roofs": [
            *_roofs(result.ceilings, rows),
            *_roofs(result.empirical_ceilings, rows, "reached"),
        ],
        "foot": _not_drawn(missing),
    }


def _roofs(ceilings: Ceilings | None, rows: Iterable[Comparison], word: str = "") -> list[Data]:
    """A roof for each kind of arithmetic among the rows; of the traffic alone if none is known."""
    if ceilings is None:
        return []
    limits = [limit for row in rows if (limit := row.roofline or row.empirical_roofline)]
    used = dict.fromkeys(limit.arithmetic for limit in limits)
    rates = {kind: rate for kind in used if kind and (rate := ceilings.flop_per_s.get(kind))}
    is_measured = ceilings.source.startswith("measured")
    prefix = f"{word or ('reached' if is_measured else 'peak')}: "
    traffic = ceilings.bytes_per_s
    by_traffic = "" if traffic is None else f"{traffic / 1e9:.4g} GB/s"
    kinds: list[tuple[str | None, float | None]] = [*rates.items()] or [(None, None)]
    return [
        {
            "name": prefix
            + ", ".join(
                part for part in (f"{kind} {format_rate(rate)}" if kind else "", by_traffic) if part
            ),
            "flop_per_s": rate,
            "bytes_per_s": traffic,
            "is_empirical": bool(word),
        }
        for kind, rate in kinds
        if rate or traffic
    ]


def _memory(rows: Sequence[Comparison]) -> Data | None:
    bars: list[Data] = []
    missing: Counter[str] = Counter()
    for row in rows:
        table = row.memory
        if table is None:
            missing["of unknown parts"] += row.measured is not None
            missing["not measured"] += row.measured is None
            continue
        theory = [part for part in table.parts if part.kind == "theory"]
        found = sum(part.bytes for part in theory if part.operator is not None)
        amounts = (
            found,
            table.sum_of("rounding"),
            table.sum_of("kept"),
            table.sum_of("temporary"),
        )
        parts = dict(zip(_MEMORY_KINDS, amounts, strict=True))
        if not theory and not table.measured_bytes:
            missing["without any block"] += 1
            continue
        bars.append(
            {"name": _name(row), "parts": parts, "outline": sum(part.bytes for part in theory)}
        )
    shown, left = _largest(bars)
    if not any(sum(bar["parts"].values()) or bar["outline"] for bar in shown):
        return None
    foot = _not_drawn(missing)
    if left:
        amount = format_bytes(sum(sum(bar["parts"].values()) for bar in left))
        foot.insert(0, f"{len(left)} smaller rows, {amount} together, are not drawn.")
    return {"rows": shown, "kinds": list(_MEMORY_KINDS), "foot": foot}


def _kernels(rows: Sequence[Comparison]) -> Data | None:
    has_device = any(
        row.measured is not None and row.measured.on_device is not None for row in rows
    )
    bars: list[Data] = []
    missing: Counter[str] = Counter()
    for row in rows:
        parts = _kernel_times(row) if has_device else _operator_times(row)
        if parts is None:
            missing["of unknown time"] += 1
        elif parts:
            bars.append({"name": _name(row), "parts": parts})
    if not bars:
        return None
    totals: defaultdict[str, int] = defaultdict(int)
    for bar in bars:
        for kind, time_ns in bar["parts"].items():
            totals[kind] += time_ns
    if has_device:
        kinds = [kind for kind in get_args(KernelKind) if kind in totals]
    else:
        longest = sorted(totals, key=lambda kind: -totals[kind])[:_MOST_OPERATORS]
        kinds = sorted(longest)  # so that they look the same in every window
        bars = _with_others(bars, kinds)
        kinds += [_OTHER] if len(totals) > len(kinds) else []
    shown, left = _largest(bars)
    foot = _not_drawn(missing)
    if left:
        amount = format_time(sum(sum(bar["parts"].values()) for bar in left))
        foot.insert(0, f"{len(left)} shorter rows, {amount} together, are not drawn.")
    return {
        "rows": shown,
        "kinds": kinds,
        "title": "Device time by kind of kernel" if has_device else "CPU time by operator",
        "axis": (
            "kernels' device time per step" if has_device else "operators' own CPU time per step"
        ),
        "foot": foot,
    }


def _kernel_times(row: Comparison) -> dict[str, int] | None:
    use = None if row.measured is None else row.measured.on_device
    if use is None or use.launches_graph:
        return None
    times: defaultdict[str, int] = defaultdict(int)
    for kernel in use.kernels:
        times[kernel.kind] += kernel.device_time_ns
    return times


def _operator_times(row: Comparison) -> dict[str, int] | None:
    if row.measured is None:
        return None
    times: defaultdict[str, int] = defaultdict(int)
    for use in row.measured.operators:
        name = use.name.removeprefix(_AROUND_A_NODE).removeprefix("aten::")
        times[_PYTHON if name.startswith(_RANGES) else name] += use.cpu_time_ns
    return times


def _with_others(bars: Sequence[Data], named: Sequence[str]) -> list[Data]:
    """The bars with all but the ``named`` operators as one."""
    merged = []
    for bar in bars:
        parts = {kind: time for kind, time in bar["parts"].items() if kind in named}
        rest = sum(bar["parts"].values()) - sum(parts.values())
        merged.append(bar | {"parts": parts | {_OTHER: rest}})
    return merged


def _largest(bars: Sequence[Data]) -> tuple[list[Data], list[Data]]:
    """Those to be drawn, in their order, and those that are left."""
    ordered = sorted(bars, key=lambda bar: -max(sum(bar["parts"].values()), bar.get("outline", 0)))
    chosen = {id(bar) for bar in ordered[:_MOST_ROWS]}
    return (
        [bar for bar in bars if id(bar) in chosen],
        [bar for bar in bars if id(bar) not in chosen],
    )


def _not_drawn(missing: Counter[str]) -> list[str]:
    reasons = [f"{count} {reason}" for reason, count in missing.items() if count]
    return [f"Rows not drawn: {', '.join(reasons)}."] if reasons else []
