"""The table at the end of a training: theory beside measurement, readable without a manual."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from lightning_profile.records import (
    Comparison,
    DeviceUse,
    FootprintComparison,
    HardwareCount,
    Measurement,
    MemoryTable,
    WindowResult,
)
from lightning_profile.report.kernels import kernel_line
from lightning_profile.report.overview import conditions, overview_table
from lightning_profile.report.units import (
    UNKNOWN,
    format_bytes,
    format_flop,
    format_rate,
    format_ratio,
    format_time,
)

_LEGEND = (
    "Theoretical: pen and paper; its time is the least that the device allows. Counted: by formula "
    "over the operators that ran. Measured: clock and allocator."
)
_LAYERS_IN_DETAIL = 3  # more than these are a row each in one table


def format_tables(result: WindowResult) -> list[Table]:
    """A table per layer for the given window; one of all layers if there are many."""
    footprints = {pair.layer.qualified_name: pair for pair in result.footprints}
    by_layer: dict[str, list[Comparison]] = {}
    for comparison in result.comparisons:
        if comparison.layer is not None:
            by_layer.setdefault(comparison.layer.qualified_name, []).append(comparison)
    if len(by_layer) > _LAYERS_IN_DETAIL:
        return [overview_table(result)]
    return [_table(result, each, footprints[name]) for name, each in by_layer.items()]


def _table(
    result: WindowResult, comparisons: list[Comparison], footprint: FootprintComparison
) -> Table:
    layer, dtype = footprint.layer, comparisons[0].dtype
    element_type = f"{dtype}".removeprefix("torch.") if dtype else UNKNOWN
    table = Table(
        title=f"{layer.display_name} ({layer.qualified_name}): what it should cost, what it costs",
        caption=(
            f"{conditions(result)} Element type: {element_type}. {_LEGEND}"
            f"{''.join(f' {line}' for line in map(kernel_line, comparisons) if line)}"
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
    phase = comparison.phase.value if comparison.phase else UNKNOWN
    table.add_row(Text(phase, style="bold"))
    if comparison.note:
        table.add_row(f"  ({comparison.note})")
    if cost is None and measured is None:
        table.add_section()
        return
    count = comparison.hardware if isinstance(comparison.hardware, HardwareCount) else None
    rows = [
        _row(
            "FLOPs of products",
            format_flop(cost.flop if cost else None),
            format_flop(measured.counted_flop if measured else None),
            measured=format_flop(count.hardware_flop) if count else "",
            ratio=format_ratio(comparison.flop_ratio),
        ),
        _row(
            "FLOPs element-wise",
            format_flop(cost.elementwise_flop if cost else None),
            measured=format_flop(count.hardware_elementwise_flop) if count else "",
        ),
        _row(
            "compulsory reads",
            format_bytes(cost.read_bytes if cost else None),
            measured=format_bytes(count.dram_read_bytes) if count else "",
        ),
        _row(
            "compulsory writes",
            format_bytes(cost.write_bytes if cost else None),
            measured=format_bytes(count.dram_write_bytes) if count else "",
        ),
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
        if comparison.memory is not None:
            rows += _memory_rows(comparison.memory)
        rows += _time_rows(measured)
        rows.append(_row("achieved rate", measured=format_rate(comparison.flop_per_s)))
    rows += _roofline_rows(comparison)
    if comparison.bound is not None:
        rows.append(_row("bound by", measured=comparison.bound))
    for row in rows:
        table.add_row(*row)
    table.add_section()


def _memory_rows(memory: MemoryTable) -> list[tuple[str, str, str, str, str]]:
    """All that was allocated: theory's tensors, what is left over, and all else by operator."""
    rows = [_row("memory handed out", measured=format_bytes(memory.measured_bytes))]
    for part in memory.parts:
        if part.kind == "theory":
            size = format_bytes(part.bytes)
            found = size if part.operator is not None else format_bytes(0)
            rows.append(_row(f"  {part.name}", size, measured=found))
    rows.append(_row("  rounding", measured=format_bytes(memory.sum_of("rounding"))))
    rows.append(_row("  residual", measured=format_bytes(memory.residual_bytes)))
    for kind, title in (("kept", "of which also kept"), ("temporary", "of which temporary")):
        parts = [part for part in memory.parts if part.kind == kind]
        if parts:
            rows.append(_row(title, measured=format_bytes(sum(part.bytes for part in parts))))
        for part in parts:
            operator = (part.operator or "Python").removeprefix("aten::")
            rows.append(_row(f"  {operator}", measured=format_bytes(part.bytes)))
    return rows


def _time_rows(measured: Measurement) -> list[tuple[str, str, str, str, str]]:
    rows = []
    if measured.device_time_ns is not None:
        rows.append(_row("device time", measured=format_time(measured.device_time_ns)))
        rows += _gradient_rows(measured)
    rows.append(_row("CPU time", measured=format_time(measured.cpu_time_ns)))
    if measured.wall_time_ns is not None:
        rows.append(_row("wall time", measured=format_time(measured.wall_time_ns)))
    return rows


def _roofline_rows(comparison: Comparison) -> list[tuple[str, str, str, str, str]]:
    """The least time by the device's ceilings beside the time that it took."""
    return [
        _row(
            label,
            format_time(roofline.time_ns),
            measured=format_time(comparison.time_ns),
            ratio=format_ratio(roofline.fraction),
        )
        for label, roofline in (
            ("time, roofline", comparison.roofline),
            ("time, empirical", comparison.empirical_roofline),
        )
        if roofline is not None and roofline.time_ns is not None
    ]


def _gradient_rows(measured: Measurement) -> list[tuple[str, str, str, str, str]]:
    """Of a backward on a device, how long the products of each gradient took, if told apart."""
    use = measured.on_device or DeviceUse()
    return [
        _row(f"  {name} products", measured=format_time(time_ns))
        for name, time_ns in (
            ("grad_input", use.grad_input_device_time_ns),
            ("grad_weight", use.grad_weight_device_time_ns),
        )
        if time_ns is not None
    ]


def _add_footprint(table: Table, footprint: FootprintComparison) -> None:
    theory, fact = footprint.theoretical, footprint.measured
    table.add_row(Text("kept in memory", style="bold"))
    for name, on_paper, in_memory in (
        ("parameters", theory.parameter_bytes, fact.parameter_bytes),
        ("gradients", theory.gradient_bytes, fact.gradient_bytes),
        ("optimizer state", theory.optimizer_state_bytes, fact.optimizer_state_bytes),
        ("activations", theory.activation_bytes, fact.activation_bytes),
    ):
        ratio = in_memory / on_paper if in_memory is not None and on_paper else None
        table.add_row(
            *_row(
                name,
                format_bytes(on_paper),
                measured=format_bytes(in_memory),
                ratio="" if on_paper == 0 else format_ratio(ratio),
            )
        )


def _row(
    name: str, theoretical: str = "", counted: str = "", measured: str = "", ratio: str = ""
) -> tuple[str, str, str, str, str]:
    """A row; a cell stays empty where a value would make no sense, unlike an unknown one."""
    return f"  {name}", theoretical, counted, measured, ratio
