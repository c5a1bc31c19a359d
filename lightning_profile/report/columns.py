"""The words and values of a result: the CSV's columns, the JSON's keys and the scalars' tags."""

from __future__ import annotations

from lightning_profile.records import Comparison, WindowResult

Value = str | int | float | None

QUANTITIES = (
    "theoretical_flop",
    "counted_flop",
    "flop_ratio",
    "theoretical_elementwise_flop",
    "counted_elementwise_flop",
    "theoretical_read_bytes",
    "theoretical_write_bytes",
    "theoretical_allocated_bytes",
    "allocated_bytes",
    "allocated_ratio",
    "workspace_bytes",
    "peak_allocated_bytes",
    "reserved_bytes",
    "cpu_time_ns",
    "device_time_ns",
    "kernels",
    "flop_per_s",
)


def quantities(comparison: Comparison) -> dict[str, int | float | None]:
    """Every number of a comparison, by its column's name; ``None`` where it is unknown."""
    cost, measured = comparison.cost, comparison.measured
    values: dict[str, int | float | None] = dict.fromkeys(QUANTITIES)
    if cost is not None:
        values |= {
            "theoretical_flop": cost.flop,
            "theoretical_elementwise_flop": cost.elementwise_flop,
            "theoretical_read_bytes": cost.read_bytes,
            "theoretical_write_bytes": cost.write_bytes,
            "theoretical_allocated_bytes": cost.allocated_bytes,
        }
    if measured is not None:
        values |= {
            "counted_flop": measured.counted_flop,
            "counted_elementwise_flop": measured.counted_elementwise_flop,
            "allocated_bytes": measured.allocated_bytes,
            "workspace_bytes": measured.workspace_bytes,
            "peak_allocated_bytes": measured.peak_allocated_bytes,
            "reserved_bytes": measured.reserved_bytes,
            "cpu_time_ns": measured.cpu_time_ns,
            "device_time_ns": measured.device_time_ns,
            "kernels": measured.kernels,
        }
    return values | {
        "flop_ratio": comparison.flop_ratio,
        "allocated_ratio": comparison.allocated_ratio,
        "flop_per_s": comparison.flop_per_s,
    }


def row(result: WindowResult, comparison: Comparison) -> dict[str, Value]:
    """One line of the CSV: a window, a layer and a phase."""
    return {
        "epoch": result.epoch,
        "global_step": result.global_step,
        "batch_size": result.batch_size,
        "dataset": result.dataset,
        "device": result.device.type,
        "device_name": result.device.name,
        "dtype": comparison.dtype,
        "layer": comparison.layer.display_name,
        "layer_type": comparison.layer.type_name,
        "qualified_name": comparison.layer.qualified_name,
        "phase": comparison.phase.value,
        "calls": comparison.calls,
        "steps": comparison.steps,
        **quantities(comparison),
        "note": comparison.note,
    }
