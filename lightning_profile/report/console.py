"""The table at the end of a training: theory beside measurement, readable without a manual."""

from __future__ import annotations

from rich.table import Table

from lightning_profile.records import Comparison, FootprintComparison, WindowResult
from lightning_profile.report.units import (
    UNKNOWN,
    format_bytes,
    format_flop,
    format_rate,
    format_ratio,
    format_time,
)

_NONE = ""  # a cell that makes no sense, as opposed to an unknown value


def format_tables(result: WindowResult) -> list[Table]:
    """One table per layer for the given window."""
    footprints = {pair.layer.qualified_name: pair for pair in result.footprints}
    names = dict.fromkeys(comparison.layer.qualified_name for comparison in result.comparisons)
    return [
        _table(
            result,
            [each for each in result.comparisons if each.layer.qualified_name == name],
            footprints[name],
        )
        for name in names
    ]


def _table(
    result: WindowResult, comparisons: list[Comparison], footprint: FootprintComparison
) -> Table:
    layer, dtype = comparisons[0].layer, comparisons[0].dtype
    device = result.device
    table = Table(
        title=f"{layer.display_name} ({layer.qualified_name}): what it should cost, what it costs",
        caption=(
            f"Per training step of {result.batch_size or UNKNOWN} samples ({result.dataset or UNKNOWN}"
            f" data, {dtype or 'element type ' + UNKNOWN}), epoch {result.epoch}, on "
            f"{device.name}, {device.threads} threads. Theoretical: pen and paper. Counted: by "
            "formula over the operators that ran. Measured: clock and allocator, "
            f"times are the median of {comparisons[0].steps} steps."
        ),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    table.add_column("quantity")
    for column in ("theoretical", "counted", "measured", "ratio to theory"):
        table.add_column(column, justify="right")
    for comparison in comparisons:
        _add_phase(table, comparison)
    _add_footprint(table, footprint)
    return table


def _add_phase(table: Table, comparison: Comparison) -> None:
    cost, measured = comparison.cost, comparison.measured
    name = comparison.phase.value
    if measured is None and cost is None:
        table.add_row(name, comparison.note, end_section=True)
        return
    table.add_row(
        name,
        "FLOPs (products)",
        format_flop(cost.flop if cost else None),
        format_flop(measured.counted_flop if measured else None),
        _NONE,
        format_ratio(comparison.flop_ratio),
    )
    table.add_row(
        "", "FLOPs (bias)", format_flop(cost.elementwise_flop if cost else None), *[_NONE] * 3
    )
    table.add_row(
        "",
        "memory allocated",
        format_bytes(cost.allocated_bytes if cost else None),
        _NONE,
        format_bytes(measured.allocated_bytes if measured else None),
        format_ratio(comparison.allocated_ratio),
    )
    table.add_row(
        "",
        "  peak, with workspace",
        _NONE,
        _NONE,
        format_bytes(measured.peak_allocated_bytes if measured else None),
        _NONE,
    )
    table.add_row(
        "",
        "compulsory traffic",
        format_bytes(cost.read_bytes + cost.write_bytes if cost else None),
        *[_NONE] * 3,
    )
    if measured is not None and measured.device_time_ns is not None:
        table.add_row(
            "", "device time", _NONE, _NONE, format_time(measured.device_time_ns), _NONE
        )
    table.add_row(
        "",
        "CPU time",
        _NONE,
        _NONE,
        format_time(measured.cpu_time_ns if measured else None),
        _NONE,
    )
    table.add_row(
        "", "achieved rate", _NONE, _NONE, format_rate(comparison.flop_per_s), _NONE
    )
    if comparison.note:
        table.add_row("", comparison.note)
    table.add_section()


def _add_footprint(table: Table, footprint: FootprintComparison) -> None:
    theory, fact = footprint.theoretical, footprint.measured
    rows = (
        ("parameters", theory.parameter_bytes, fact.parameter_bytes),
        ("gradients", theory.gradient_bytes, fact.gradient_bytes),
        ("optimizer state", theory.optimizer_state_bytes, fact.optimizer_state_bytes),
        ("activations for backward", theory.activation_bytes, fact.activation_bytes),
        ("output", theory.output_bytes, fact.output_bytes),
    )
    for position, (name, on_paper, in_memory) in enumerate(rows):
        ratio = in_memory / on_paper if in_memory is not None and on_paper else None
        table.add_row(
            "" if position else "kept in memory",
            name,
            format_bytes(on_paper),
            _NONE,
            format_bytes(in_memory),
            format_ratio(ratio) if in_memory is not None else _NONE,
        )
