"""Closed forms of convolutions and their transposes in one, two and three dimensions.

Positions in the zero padding count like any other, as they do in every published count. The
products are those of Dumoulin & Visin, "A guide to convolution arithmetic for deep learning"
(arXiv:1603.07285), chapters 2 and 4:

    forward      output      = input  * weight
    grad_input   grad_input  = grad_output * weight, transposed
    grad_weight  grad_weight = input  * grad_output

Each of them takes as many multiply-accumulates as the forward; a transposed convolution exchanges
the first two. Left out are the additions that fold the gradient of a non-zero padding back into
the input.
"""

from __future__ import annotations

from torch import nn

from lightning_profile.records import Call, Cost, Phase, PhaseCosts
from lightning_profile.theory.convolution_geometry import (
    Convolution,
    Geometry,
    TransposedConvolution,
    convolution_geometry,
    transposed_geometry,
)
from lightning_profile.theory.cost import in_bytes, phase_cost
from lightning_profile.theory.expression import ZERO, Expression, total
from lightning_profile.theory.registry import kept_activations, phase_costs
from lightning_profile.theory.tensors import NamedTensor


@phase_costs.register(nn.Conv1d)
@phase_costs.register(nn.Conv2d)
@phase_costs.register(nn.Conv3d)
def _convolution_costs(module: Convolution, call: Call) -> PhaseCosts | None:
    return _costs(convolution_geometry(module, call), call)


@phase_costs.register(nn.ConvTranspose1d)
@phase_costs.register(nn.ConvTranspose2d)
@phase_costs.register(nn.ConvTranspose3d)
def _transposed_costs(module: TransposedConvolution, call: Call) -> PhaseCosts | None:
    return _costs(transposed_geometry(module, call), call)


@kept_activations.register(nn.Conv1d)
@kept_activations.register(nn.Conv2d)
@kept_activations.register(nn.Conv3d)
def _kept_by_convolution(module: Convolution, call: Call) -> Expression:
    return _kept(convolution_geometry(module, call), call)


@kept_activations.register(nn.ConvTranspose1d)
@kept_activations.register(nn.ConvTranspose2d)
@kept_activations.register(nn.ConvTranspose3d)
def _kept_by_transposed(module: TransposedConvolution, call: Call) -> Expression:
    return _kept(transposed_geometry(module, call), call)


def _costs(geometry: Geometry, call: Call) -> PhaseCosts | None:
    if not geometry.fits(call):
        return None
    costs = {Phase.FORWARD: _forward(geometry)}
    if call.output_requires_grad and call.input_requires_grad:
        costs[Phase.GRAD_INPUT] = _grad_input(geometry)
    if call.trains("weight") or call.trains("bias"):
        costs[Phase.GRAD_WEIGHT] = _grad_weight(
            geometry, weight=call.trains("weight"), bias=call.trains("bias")
        )
    return costs


def _kept(geometry: Geometry, call: Call) -> Expression:
    if not call.trains("weight"):
        return ZERO  # grad_input needs nothing but the weight
    kept = geometry.padded_input if geometry.padded_input.value else geometry.input
    return in_bytes(kept, geometry.item_bytes)


def _forward(geometry: Geometry) -> Cost:
    g = geometry
    return phase_cost(
        flop=2 * g.multiply_accumulates,
        elementwise=g.output if g.bias.value else ZERO,
        elementwise_name="bias additions",
        read=in_bytes(total([g.input, g.weight, g.bias]), g.item_bytes),
        write=in_bytes(g.output, g.item_bytes),
        allocated=[
            NamedTensor("output", in_bytes(g.output, g.item_bytes)),
            NamedTensor("padded input", in_bytes(g.padded_input, g.item_bytes)),
        ],
        preamble=tuple(size.equation(f"{axis}_out", "") for axis, size in g.output_sizes.items()),
    )


def _grad_input(geometry: Geometry) -> Cost:
    g = geometry
    return phase_cost(
        flop=2 * g.multiply_accumulates,
        read=in_bytes(total([g.output, g.weight]), g.item_bytes),
        write=in_bytes(g.input, g.item_bytes),
        allocated=[NamedTensor("gradient of input", in_bytes(g.input, g.item_bytes))],
    )


def _grad_weight(geometry: Geometry, *, weight: bool, bias: bool) -> Cost:
    g = geometry
    gradients = {"weight": g.weight if weight else ZERO, "bias": g.bias if bias else ZERO}
    return phase_cost(
        flop=2 * g.multiply_accumulates if weight else ZERO,
        elementwise=g.output if bias else ZERO,
        elementwise_name="bias gradient additions",
        read=in_bytes(total([g.output, g.input if weight else ZERO]), g.item_bytes),
        write=in_bytes(total([*gradients.values()]), g.item_bytes),
        allocated=[
            NamedTensor(f"gradient of {name}", in_bytes(elements, g.parameter_item_bytes))
            for name, elements in gradients.items()
        ],
    )
