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
            f"Per training step of {result.batch_size or UNKNOWN} samples "
            f"({result.dataset or UNKNOWN} data, {dtype or UNKNOWN + ' element type'}), epoch "
            f"{result.epoch}, on {device.name} with {device.threads} CPU threads. Theoretical: pen "
            "and paper. Counted: by formula over the operators that ran. Measured: clock and "
            f"allocator; times are the median of {comparisons[0].steps} steps."
        ),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    for column in ("theoretical", "counted", "measured"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    for comparison in comparisons:
        _add_phase(table, comparison)
    _add_footprint(table, footprint)
    return table


def _add_phase(table: Table, comparison: Comparison) -> None:
    cost, measured = comparison.cost, comparison.measured
    table.add_row(f"[bold]{comparison.phase.value}[/bold]")
    if comparison.note:
        table.add_row(f"  ({comparison.note})")
    if cost is None and measured is None:
        table.add_section()
        return
    rows = [
        _row(
            "FLOPs of products",
            format_flop(cost.flop if cost else None),
            format_flop(measured.counted_flop if measured else None),
            ratio=format_ratio(comparison.flop_ratio),
        ),
        _row("FLOPs of bias", format_flop(cost.elementwise_flop if cost else None)),
        _row("compulsory reads", format_bytes(cost.read_bytes if cost else None)),
        _row("compulsory writes", format_bytes(cost.write_bytes if cost else None)),
        _row(
            "allocated",
            format_bytes(cost.allocated_bytes if cost else None),
            measured=format_bytes(measured.allocated_bytes if measured else None),
            ratio=format_ratio(comparison.allocated_ratio),
        ),
    ]
    if measured is not None:
        rows.append(
            _row("  peak with workspace", measured=format_bytes(measured.peak_allocated_bytes))
        )
        if measured.device_time_ns is not None:
            rows.append(_row("device time", measured=format_time(measured.device_time_ns)))
        rows.append(_row("CPU time", measured=format_time(measured.cpu_time_ns)))
        rows.append(_row("achieved rate", measured=format_rate(comparison.flop_per_s)))
    for row in rows:
        table.add_row(*row)
    table.add_section()


def _add_footprint(table: Table, footprint: FootprintComparison) -> None:
    theory, fact = footprint.theoretical, footprint.measured
    table.add_row("[bold]kept in memory[/bold]")
    for name, on_paper, in_memory in (
        ("parameters", theory.parameter_bytes, fact.parameter_bytes),
        ("gradients", theory.gradient_bytes, fact.gradient_bytes),
        ("optimizer state", theory.optimizer_state_bytes, fact.optimizer_state_bytes),
    ):
        ratio = in_memory / on_paper if in_memory is not None and on_paper else None
        table.add_row(
            *_row(
                name,
                format_bytes(on_paper),
                measured=format_bytes(in_memory),
                ratio=format_ratio(ratio),
            )
        )
    table.add_row(*_row("activations", format_bytes(theory.activation_bytes)))


def _row(
    name: str, theoretical: str = "", counted: str = "", measured: str = "", ratio: str = ""
) -> tuple[str, str, str, str, str]:
    """A row; a cell stays empty where a value would make no sense, unlike an unknown one."""
    return f"  {name}", theoretical, counted, measured, ratio
