"""The words and values of a result: the CSV's columns, the JSON's keys and the scalars' tags."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_profile.records import Comparison, HardwareCount, RankSpread, WindowResult

Value = str | int | float | None

OPTIMIZER_NAME = "optimizer"  # what the optimizers' steps did beside forward and backward
REST_NAME = "rest-of-step"  # what else belongs to no watched layer: loss, copies

QUANTITIES = (
    "theoretical_flop",
    "counted_flop",
    "flop_ratio",
    "hardware_flop",
    "theoretical_elementwise_flop",
    "counted_elementwise_flop",
    "hardware_elementwise_flop",
    "theoretical_read_bytes",
    "theoretical_write_bytes",
    "dram_read_bytes",
    "dram_write_bytes",
    "theoretical_allocated_bytes",
    "allocated_bytes",
    "allocated_ratio",
    "rounding_bytes",
    "other_kept_bytes",
    "workspace_bytes",
    "memory_residual_bytes",
    "peak_allocated_bytes",
    "reserved_bytes",
    "cached_bytes",
    "cpu_time_ns",
    "wall_time_ns",
    "device_time_ns",
    "grad_input_device_time_ns",
    "grad_weight_device_time_ns",
    "kernels",
    "flop_per_s",
    "flop_per_byte",
    "roofline_time_ns",
    "roofline_fraction",
    "empirical_roofline_time_ns",
    "empirical_roofline_fraction",
    "own_counted_flop",
    "own_cpu_time_ns",
    "own_device_time_ns",
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
            "cached_bytes": measured.cached_bytes,
            "cpu_time_ns": measured.cpu_time_ns,
            "wall_time_ns": measured.wall_time_ns,
            "device_time_ns": measured.device_time_ns,
            "kernels": measured.kernels,
            "own_counted_flop": measured.own.counted_flop,
            "own_cpu_time_ns": measured.own.cpu_time_ns,
            "own_device_time_ns": measured.own.device_time_ns,
        }
    if measured is not None and measured.on_device is not None:
        values |= {
            "grad_input_device_time_ns": measured.on_device.grad_input_device_time_ns,
            "grad_weight_device_time_ns": measured.on_device.grad_weight_device_time_ns,
        }
    if comparison.memory is not None:
        values |= {
            "rounding_bytes": comparison.memory.sum_of("rounding"),
            "other_kept_bytes": comparison.memory.sum_of("kept"),
            "memory_residual_bytes": comparison.memory.residual_bytes,
        }
    if isinstance(comparison.hardware, HardwareCount):
        values |= {
            "hardware_flop": comparison.hardware.hardware_flop,
            "hardware_elementwise_flop": comparison.hardware.hardware_elementwise_flop,
            "dram_read_bytes": comparison.hardware.dram_read_bytes,
            "dram_write_bytes": comparison.hardware.dram_write_bytes,
        }
    if comparison.roofline is not None:
        values |= {
            "flop_per_byte": comparison.roofline.flop_per_byte,
            "roofline_time_ns": comparison.roofline.time_ns,
            "roofline_fraction": comparison.roofline.fraction,
        }
    if comparison.empirical_roofline is not None:
        values |= {
            "empirical_roofline_time_ns": comparison.empirical_roofline.time_ns,
            "empirical_roofline_fraction": comparison.empirical_roofline.fraction,
        }
    return values | {
        "flop_ratio": comparison.flop_ratio,
        "allocated_ratio": comparison.allocated_ratio,
        "flop_per_s": comparison.flop_per_s,
    }


def display_name(comparison: Comparison) -> str:
    """How the row's layer is called everywhere."""
    if comparison.layer is not None:
        return comparison.layer.display_name
    return OPTIMIZER_NAME if comparison.is_optimizer else REST_NAME


def row_key(comparison: Comparison) -> tuple[str, str]:
    """Names a row: qualified name and phase, or what it is if it is no layer's."""
    if comparison.layer is None:
        return "", display_name(comparison)
    return (
        comparison.layer.qualified_name,
        comparison.phase.value if comparison.phase is not None else "",
    )


def quantities_by_row(result: WindowResult) -> dict[tuple[str, str], dict[str, int | float]]:
    """Every known number by row and column, such as to compare processes with each other."""
    return {
        row_key(each): {
            name: value for name, value in quantities(each).items() if value is not None
        }
        for each in result.comparisons
    }


def rows(result: WindowResult) -> Iterator[dict[str, Value]]:
    """Lines of the CSV: one per layer and phase, then their spread over the processes."""
    for comparison in result.comparisons:
        yield _row(result, comparison)
    for comparison in result.comparisons:
        spreads = result.spreads.get(row_key(comparison))
        if spreads:
            for statistic in RANK_STATISTICS:
                yield _row(result, comparison) | {
                    "rank": statistic,
                    **dict.fromkeys(QUANTITIES),
                    **{name: spread_value(each, statistic) for name, each in spreads.items()},
                }


RANK_STATISTICS = ("min", "mean", "max")


def spread_value(spread: RankSpread, statistic: str) -> float:
    """One of ``RANK_STATISTICS``."""
    return {"min": spread.minimum, "mean": spread.mean, "max": spread.maximum}[statistic]


def _row(result: WindowResult, comparison: Comparison) -> dict[str, Value]:
    layer, dtype = comparison.layer, comparison.dtype
    return {
        "epoch": result.epoch,
        "global_step": result.global_step,
        "stage": result.stage,
        "rank": "0",
        "batch_size": result.batch_size,
        "dataset": result.dataset,
        "device": result.device.type,
        "device_name": result.device.name,
        "dtype": None if dtype is None else str(dtype).removeprefix("torch."),
        "layer": display_name(comparison),
        "layer_type": layer.type_name if layer is not None else None,
        "qualified_name": layer.qualified_name if layer is not None else "",
        "phase": comparison.phase.value if comparison.phase is not None else "",
        "calls": comparison.calls,
        "steps": comparison.steps,
        **quantities(comparison),
        "bound": comparison.bound,
        "note": comparison.note,
    }
