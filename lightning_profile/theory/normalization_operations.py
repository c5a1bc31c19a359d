"""Operation counts of layers that normalise, and their costs put together.

The formulas are those of :mod:`~lightning_profile.theory.normalization`, whose symbols stand beside
the counts here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lightning_profile.records import Call, Cost, Phase
from lightning_profile.theory.cost import phase_cost
from lightning_profile.theory.elementwise import (
    forward_cost,
    grad_input_cost,
    input_bytes,
    input_elements,
    input_phases,
    output_bytes,
    stored_bytes,
    times,
)
from lightning_profile.theory.expression import ZERO, Expression, symbol, total
from lightning_profile.theory.tensors import (
    NamedTensor,
    input_gradients,
    output_tensors,
    parameter_gradients,
)


@dataclass(frozen=True, slots=True)
class Operations:
    """Operation counts per element of the input and per statistic."""

    per_element: int
    per_statistic: int

    def of(self, elements: Expression, statistics: Expression) -> Expression:
        """All of them."""
        return total([times(self.per_element, elements), times(self.per_statistic, statistics)])


# Σ;  x − μ, square, Σ;  ·r               two divisions by M;  +ε, √, /
OWN_STATISTICS = Operations(5, 5)
# x − μ, ·r                               +ε, √, /
RUNNING_STATISTICS = Operations(2, 3)
# square, Σ;  ·r                          division by M, +ε, √, /
MEAN_SQUARE = Operations(3, 4)
# Σĝ;  ·x̂, Σ;  x̂·;  −, −;  ·r             two divisions by M
OWN_GRADIENT = Operations(7, 2)
# ·r
RUNNING_GRADIENT = Operations(1, 0)
# ·x̂, Σ;  x̂·;  −;  ·r                     division by M
MEAN_SQUARE_GRADIENT = Operations(5, 1)
# Per element: γ·x̂ and + β forward; g·x̂, Σ and Σ backward; γ·g.
SCALE, SHIFT, SCALE_GRADIENT, SHIFT_GRADIENT, SCALED = 1, 1, 2, 1, 1
# Per channel: (1 − m)·running + m·new for mean and variance, and M / (M − 1) on the variance.
RUNNING_UPDATE = 7

# On every device PyTorch keeps statistics of these types in the same type.
_FULL_PRECISION = (torch.float32, torch.float64)


def statistic_tensors(call: Call, statistics: Expression) -> list[NamedTensor] | None:
    """μ and r, kept for the backward; ``None`` for half precision, up to the device."""
    if call.dtype not in _FULL_PRECISION:
        return None
    size = statistics * symbol("bytes per element", call.dtype.itemsize)
    return [NamedTensor(name, size) for name in ("saved mean", "saved reciprocal deviation")]


def trained_bytes(call: Call) -> Expression:
    """Bytes of the gradients of γ and β that the backward computes."""
    return stored_bytes([each for each in call.parameters if each.requires_grad])


def normalization_costs(
    call: Call,
    *,
    forward: Expression,
    grad_input: Expression,
    grad_input_needs_input: bool,
    saved: Sequence[NamedTensor] | None,
) -> dict[Phase, Cost]:
    """Costs from the operations without γ and β in the forward, which are added here.

    Args:
        call: The call, whose input and output have one shape.
        forward: Operations of the forward up to x̂.
        grad_input: Operations of the gradient of the input.
        grad_input_needs_input: Whether it is computed from the input, too, beside the output's
            gradient and γ.
        saved: What PyTorch creates for the backward; ``None`` if unknown.
    """
    elements = input_elements(call)
    affine = SCALE * call.has("weight") + SHIFT * call.has("bias")
    created = saved if call.output_requires_grad else ()
    weight = [each for each in call.parameters if each.role == "weight"]
    source, gradient = input_bytes(call), output_bytes(call)
    costs = input_phases(
        call,
        forward_cost(
            call,
            total([forward, times(affine, elements)]),
            allocated=None if created is None else [*output_tensors(call), *created],
        ),
        grad_input_cost(
            call,
            grad_input,
            needed=total([source if grad_input_needs_input else ZERO, stored_bytes(weight)]),
            allocated=input_gradients(call),
        ),
    )
    if call.trains("weight") or call.trains("bias"):
        sums = SCALE_GRADIENT * call.trains("weight") + SHIFT_GRADIENT * call.trains("bias")
        # One operator computes all gradients: what one of them has read, it has for the others.
        has_gradient = Phase.GRAD_INPUT in costs
        has_input = (has_gradient and grad_input_needs_input) or not call.trains("weight")
        costs[Phase.GRAD_WEIGHT] = phase_cost(
            elementwise=times(sums, elements),
            read=total([ZERO if has_gradient else gradient, ZERO if has_input else source]),
            write=trained_bytes(call),
            allocated=parameter_gradients([each for each in call.parameters if each.requires_grad]),
        )
    return costs
