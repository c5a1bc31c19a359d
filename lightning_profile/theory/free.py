"""Closed forms of layers that compute nothing: views, rearrangements and padding.

    view            Identity, Flatten, Unflatten              nothing is moved
    rearrangement   PixelShuffle, PixelUnshuffle,             every element is read and written
                    ChannelShuffle
    padding         y is x and what surrounds it              grad_x = the inner part of g; where
                                                              the surroundings come from x, each
                                                              element of g is added to its source
    Unfold          y holds a copy of each block of x         grad_x: as Fold, an addition for each
                                                              element of g
    Fold            y = Σ blocks, an addition for each        grad_x: as Unfold, a copy
                    element of x

(PyTorch's documentation of ``torch.nn``; Shi et al. 2016, arXiv:1609.05158, for PixelShuffle.)
Flatten is a view of an input that lies in order; of another PyTorch makes a copy, which is up to
the memory layout and not on paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lightning_profile.records import Call, PhaseCosts
from lightning_profile.theory.cost import phase_cost
from lightning_profile.theory.elementwise import (
    forward_cost,
    grad_input_cost,
    has_one_input,
    input_bytes,
    input_elements,
    input_phases,
    needs_input_gradient,
    output_elements,
    pass_through_costs,
)
from lightning_profile.theory.expression import ZERO, Expression
from lightning_profile.theory.registry import kept_activations, phase_costs
from lightning_profile.theory.tensors import NamedTensor, input_gradients, output_tensors

CONSTANT_PADS: tuple[type[nn.Module], ...] = (
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
    *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
)
BORDER_PADS: tuple[type[nn.Module], ...] = (
    *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
    *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
)
CIRCULAR_PADS: tuple[type[nn.Module], ...] = (nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d)


@phase_costs.register(nn.Identity)
def _identity_costs(module: nn.Identity, call: Call) -> PhaseCosts | None:
    return pass_through_costs(call, allocated=()) if has_one_input(call) else None


@phase_costs.register(nn.Flatten)
@phase_costs.register(nn.Unflatten)
def _view_costs(module: nn.Module, call: Call) -> PhaseCosts | None:
    return pass_through_costs(call, allocated=None) if has_one_input(call) else None


@phase_costs.register(nn.PixelShuffle)
def _pixel_shuffle_costs(module: nn.PixelShuffle, call: Call) -> PhaseCosts | None:
    return _rearrangement_costs(call, module.upscale_factor)


@phase_costs.register(nn.PixelUnshuffle)
def _pixel_unshuffle_costs(module: nn.PixelUnshuffle, call: Call) -> PhaseCosts | None:
    return _rearrangement_costs(call, module.downscale_factor)


@phase_costs.register(nn.ChannelShuffle)
def _channel_shuffle_costs(module: nn.ChannelShuffle, call: Call) -> PhaseCosts | None:
    return _rearrangement_costs(call, module.groups)


@phase_costs.register(nn.Fold)
def _fold_costs(module: nn.Fold, call: Call) -> PhaseCosts | None:
    return _block_costs(call, input_elements(call), ZERO)


@phase_costs.register(nn.Unfold)
def _unfold_costs(module: nn.Unfold, call: Call) -> PhaseCosts | None:
    return _block_costs(call, ZERO, output_elements(call))


def _rearrangement_costs(call: Call, factor: int) -> PhaseCosts | None:
    if not has_one_input(call):
        return None
    # With a factor of 1 nothing moves: a copy on the CPU, a view elsewhere.
    return input_phases(
        call,
        forward_cost(call, ZERO, allocated=output_tensors(call) if factor > 1 else None),
        grad_input_cost(
            call, ZERO, needed=ZERO, allocated=input_gradients(call) if factor > 1 else None
        ),
    )


def _block_costs(call: Call, forward: Expression, backward: Expression) -> PhaseCosts | None:
    if not has_one_input(call):
        return None
    # PyTorch allocates the size of what goes in before it settles on that of what comes out.
    return input_phases(
        call,
        forward_cost(call, forward, allocated=None),
        grad_input_cost(call, backward, needed=ZERO, allocated=None),
    )


def _constant_pad_costs(module: Any, call: Call) -> PhaseCosts | None:
    if not has_one_input(call) or min(module.padding) < 0:
        return None  # a negative padding cuts off
    gradients = input_bytes(call)
    return input_phases(
        call,
        forward_cost(call, ZERO, allocated=output_tensors(call)),
        phase_cost(read=gradients, write=gradients, allocated=input_gradients(call)),
    )


def _border_pad_costs(module: Any, call: Call) -> PhaseCosts | None:
    return _copied_pad_costs(module, call, input_gradients(call))


def _circular_pad_costs(module: Any, call: Call) -> PhaseCosts | None:
    # Undone slice by slice: which of the sums PyTorch leaves alive has no closed form.
    return _copied_pad_costs(module, call, None)


def _copied_pad_costs(
    module: Any, call: Call, gradient_allocated: Sequence[NamedTensor] | None
) -> PhaseCosts | None:
    if not has_one_input(call) or min(module.padding) < 0:
        return None
    return input_phases(
        call,
        forward_cost(call, ZERO, allocated=output_tensors(call)),
        grad_input_cost(call, output_elements(call), needed=ZERO, allocated=gradient_allocated),
    )


def _keeps_nothing(module: nn.Module, call: Call) -> Expression:
    return ZERO


def _kept_by_border_pad(module: nn.Module, call: Call) -> Expression:
    # PyTorch's backward takes the input, if only for its sizes.
    return input_bytes(call) if needs_input_gradient(call) else ZERO


for kinds, costs, kept in (
    (CONSTANT_PADS, _constant_pad_costs, _keeps_nothing),
    (BORDER_PADS, _border_pad_costs, _kept_by_border_pad),
    (CIRCULAR_PADS, _circular_pad_costs, _keeps_nothing),
):
    for kind in kinds:
        phase_costs.register(kind, costs)
        kept_activations.register(kind, kept)
for kind in (
    *(nn.Identity, nn.Flatten, nn.Unflatten, nn.Fold, nn.Unfold),
    *(nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle),
):
    kept_activations.register(kind, _keeps_nothing)
