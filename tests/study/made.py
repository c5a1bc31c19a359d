"""Points made by hand, from formulas of the batch size, to say one thing or its opposite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning_profile.records import ARITHMETIC_KINDS, Ceilings
from lightning_profile.study.analysis import Analysis, analyse
from lightning_profile.study.point import STEP_NAME, Machine, Point, Row

SIZES = (16, 32, 64, 128, 256)
Formula = Callable[[int], float]
CEILINGS = Ceilings(
    flop_per_s=dict.fromkeys(ARITHMETIC_KINDS, 1e12), bytes_per_s=1e11, source="measured: not"
)
LAYER: Mapping[str, Formula] = {
    "theoretical_flop": lambda n: 1000 * n,
    "counted_flop": lambda n: 1000 * n,
    "theoretical_allocated_bytes": lambda n: 512 * n,
    "allocated_bytes": lambda n: 512 * n,
    "workspace_bytes": lambda n: 256 * n + 64,
    "cpu_time_ns": lambda n: 5000 * n + 20_000,
    "theoretical_read_bytes": lambda n: 100 * n,
    "theoretical_write_bytes": lambda n: 100 * n,
    "roofline_time_ns": lambda n: 1000.0 * n,
}
STEP: Mapping[str, Formula] = {
    "wall_time_ns": lambda n: 20_000 * n + 100_000,
    "peak_tensor_bytes": lambda n: 2**20 * n,
    "peak_resident_bytes": lambda n: 2**20 * n + 2**29,
    "page_faults": lambda n: 1,
}


def point(
    size: int,
    layer: Mapping[str, Formula] = LAYER,
    step: Mapping[str, Formula] = STEP,
    row: Callable[[int], Mapping[str, Any]] = lambda _: {},
    machine: Mapping[str, Any] | None = None,
) -> Point:
    """A finished point whose values follow the formulas."""
    layer_row: dict[str, Any] = {
        "layer": "Conv2d-2",
        "qualified_name": "conv2",
        "layer_type": "Conv2d",
        "phase": "forward",
        "dtype": "float32",
        "product": "convolution",
        "bound": "compute",
        "values": {name: formula(size) for name, formula in layer.items()},
        "algorithms": ("aten::conv2d",),
    }
    settings: dict[str, Any] = {
        "device": "A Processor",
        "device_type": "cpu",
        "threads": 2,
        "capacity_bytes": 2**32,
        "ceilings": CEILINGS,
        "versions": {"torch": "2.14"},
    }
    return Point(
        batch_size=size,
        status="finished",
        dataset="made",
        machine=Machine(**{**settings, **(machine or {})}),
        run_folder=f"logs/runs/version_{size}",
        duration_s=1.5,
        rows=(
            Row(layer=STEP_NAME, values={name: f(size) for name, f in step.items()}),
            Row(**{**layer_row, **row(size)}),
        ),
    )


def analysis(
    layer: Mapping[str, Formula] | None = None,
    step: Mapping[str, Formula] | None = None,
    *,
    row: Callable[[int], Mapping[str, Any]] = lambda _: {},
    sizes: Sequence[int] = SIZES,
    extra: Sequence[Point] = (),
    machine: Mapping[str, Any] | None = None,
    **options: Any,
) -> Analysis:
    """The analysis of such points; ``layer`` and ``step`` replace formulas."""
    points = [
        point(size, {**LAYER, **(layer or {})}, {**STEP, **(step or {})}, row, machine)
        for size in sizes
    ]
    return analyse([*points, *extra], **options)
