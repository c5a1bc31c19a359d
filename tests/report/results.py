"""A window's result made by hand, with numbers that are easy to recognise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lightning_profile.records import (
    Call,
    Comparison,
    Cost,
    Derivation,
    Device,
    Equation,
    Footprint,
    FootprintComparison,
    Layer,
    Measurement,
    Phase,
    RankSpread,
    TensorFact,
    WindowResult,
    Work,
)

_MODULE = nn.Conv2d(2, 3, 3)
LAYER = Layer(
    qualified_name="body.conv2",
    display_name="Conv2d-2",
    type_name="Conv2d",
    module=_MODULE,
    entry=_MODULE,
)
CALL = Call(
    layer="body.conv2",
    step=11,
    inputs=(
        TensorFact(name="input", shape=(128, 2, 8, 8), dtype=torch.float32, requires_grad=True),
    ),
    outputs=(TensorFact(name="", shape=(128, 3, 6, 6), dtype=torch.float32, requires_grad=True),),
)
EQUATION = Equation(quantity="FLOPs", symbols="2 · N", numbers="2 · 500", value=1000, unit="FLOP")
COST = Cost(
    flop=1000,
    elementwise_flop=10,
    read_bytes=2048,
    write_bytes=1024,
    allocated_bytes=4096,
    derivation=(EQUATION,),
)


WORK = Work(
    counted_flop=1000,
    counted_elementwise_flop=None,
    cpu_time_ns=2_000_000,
    device_time_ns=None,
    kernels=None,
)
SPREAD = RankSpread(ranks=(0, 1), minimum=1.0, mean=2.0, maximum=3.0)


def measurement(**values: Any) -> Measurement:
    defaults: dict[str, Any] = {
        "layer": "body.conv2",
        "phase": Phase.FORWARD,
        "step": 11,
        "calls": (0,),
        "calls_inside": (0,),
        "counted_flop": 1000,
        "counted_elementwise_flop": None,
        "cpu_time_ns": 2_000_000,
        "device_time_ns": None,
        "kernels": None,
        "own": WORK,
        "allocated_bytes": 8192,
        "workspace_bytes": 512,
        "peak_allocated_bytes": 8704,
        "reserved_bytes": None,
    }
    return Measurement(**(defaults | values))


def comparison(**values: Any) -> Comparison:
    defaults: dict[str, Any] = {
        "layer": LAYER,
        "phase": Phase.FORWARD,
        "steps": 3,
        "calls": 1,
        "dtype": torch.float32,
        "cost": COST,
        "measured": measurement(),
    }
    return Comparison(**(defaults | values))


def result(*comparisons: Comparison, epoch: int = 0, **values: Any) -> WindowResult:
    made = WindowResult(
        epoch=epoch,
        global_step=14 + epoch,
        batch_sizes={11: 128, 12: 128, 13: 128},
        steps=(11, 12, 13),
        dataset="mnist, or so",
        device=Device(name="A Processor", type="cpu", threads=2),
        calls=(CALL,),
        measurements=(measurement(),),
        comparisons=comparisons or (comparison(),),
        derivations=(
            Derivation(layer=LAYER, call=CALL, costs={Phase.FORWARD: COST}, footprint=(EQUATION,)),
        ),
        footprints=(
            FootprintComparison(
                layer=LAYER,
                theoretical=Footprint(
                    parameter_bytes=228,
                    gradient_bytes=228,
                    optimizer_state_bytes=None,
                    activation_bytes=65536,
                    output_bytes=55296,
                ),
                measured=Footprint(
                    parameter_bytes=228,
                    gradient_bytes=114,
                    optimizer_state_bytes=464,
                    activation_bytes=65024,
                    output_bytes=None,
                ),
            ),
        ),
        spreads={},
    )
    return replace(made, **values)
