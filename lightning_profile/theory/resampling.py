"""Closed forms of upsampling.

Each output is a weighted sum of its nearest inputs, 2 in each direction for the linear modes and 4
for the cubic one (Keys, "Cubic convolution interpolation for digital image processing", 1981;
PyTorch's documentation of ``torch.nn.functional.interpolate``): a multiplication and an addition
for each of them, forward, and the same for the gradient, which is spread with the same weights.
The nearest neighbour is a copy; its gradient is one addition for each output. Positions and
weights depend on the sizes alone, are shared by all images and channels, and are left out.
"""

from __future__ import annotations

from torch import nn

from lightning_profile.records import Call, PhaseCosts
from lightning_profile.theory.elementwise import (
    forward_cost,
    grad_input_cost,
    has_one_input,
    input_phases,
    output_elements,
    times,
)
from lightning_profile.theory.expression import ZERO, Expression, symbol
from lightning_profile.theory.registry import kept_activations, phase_costs
from lightning_profile.theory.tensors import input_gradients, output_tensors

# Inputs in the weighted sum of one output.
TAPS = {"linear": 2, "bilinear": 2**2, "trilinear": 2**3, "bicubic": 4**2}
NEAREST = frozenset({"nearest", "nearest-exact"})


@phase_costs.register(nn.Upsample)
@phase_costs.register(nn.UpsamplingNearest2d)
@phase_costs.register(nn.UpsamplingBilinear2d)
def _upsample_costs(module: nn.Upsample, call: Call) -> PhaseCosts | None:
    if not has_one_input(call):
        return None
    outputs = output_elements(call)
    if module.mode in NEAREST:
        forward, backward = ZERO, outputs
    elif module.mode in TAPS:
        forward = backward = times(2, outputs) * symbol("taps", TAPS[module.mode])
    else:
        return None
    return input_phases(
        call,
        forward_cost(call, forward, allocated=output_tensors(call)),
        grad_input_cost(call, backward, needed=ZERO, allocated=input_gradients(call)),
    )


@kept_activations.register(nn.Upsample)
@kept_activations.register(nn.UpsamplingNearest2d)
@kept_activations.register(nn.UpsamplingBilinear2d)
def _kept_by_upsample(module: nn.Upsample, call: Call) -> Expression:
    return ZERO
