"""Closed forms of convolutions in one, two and three dimensions.

Conventions: a multiply-accumulate is 2 FLOPs; positions in the zero padding count like any other,
as they do in every published count. Traffic is compulsory, that is each operand of each of the
three products read once and each result written once. Operands have the output's element type
(autocast's, where that is on); gradients of parameters are kept in the parameters' own. The
products are those of Dumoulin & Visin, "A guide to convolution arithmetic for deep learning"
(arXiv:1603.07285), chapters 2 and 4:

    forward      output      = input  * weight
    grad_input   grad_input  = grad_output * weight, transposed
    grad_weight  grad_weight = input  * grad_output

Each of them takes as many multiply-accumulates as the forward. Left out are the additions that
fold the gradient of a non-zero padding back into the input.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lightning_profile.records import Call, Cost, Equation, Phase
from lightning_profile.theory.expression import ZERO, Expression, product, symbol, total
from lightning_profile.theory.registry import footprint, phase_costs

_AXES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}
_Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Element counts of every operand, each an expression over the layer's geometry."""

    output_sizes: dict[str, Expression]  # per axis
    multiply_accumulates: Expression
    input: Expression
    padded_input: Expression  # ZERO unless the padding is materialised as a tensor
    weight: Expression
    bias: Expression
    output: Expression
    item_bytes: Expression
    parameter_item_bytes: Expression

    def fits(self, call: Call) -> bool:
        """Whether the output that was seen has the sizes that the closed form says."""
        sizes = tuple(size.value for size in self.output_sizes.values())
        return len(call.output_shapes) == 1 and call.output_shapes[0][-len(sizes) :] == sizes


@phase_costs.register(nn.Conv1d)
@phase_costs.register(nn.Conv2d)
@phase_costs.register(nn.Conv3d)
def _convolution_costs(module: _Convolution, call: Call) -> dict[Phase, Cost] | None:
    geometry = _geometry(module, call)
    if not geometry.fits(call):
        return None  # a subclass whose forward is not the convolution that it inherits
    costs = {Phase.FORWARD: _forward(geometry)}
    if call.input_requires_grad:
        costs[Phase.GRAD_INPUT] = _grad_input(geometry)
    has_trainable_bias = module.bias is not None and module.bias.requires_grad
    if call.output_requires_grad and (module.weight.requires_grad or has_trainable_bias):
        costs[Phase.GRAD_WEIGHT] = _grad_weight(
            geometry, weight=module.weight.requires_grad, bias=has_trainable_bias
        )
    return costs


@footprint.register(nn.Conv1d)
@footprint.register(nn.Conv2d)
@footprint.register(nn.Conv3d)
def _convolution_footprint(module: _Convolution, call: Call) -> tuple[Equation, ...]:
    geometry = _geometry(module, call)
    if not geometry.fits(call):
        return ()
    parameter_bytes = geometry.parameter_item_bytes
    kept_input = geometry.padded_input if geometry.padded_input.value else geometry.input
    trainable = [
        count
        for count, parameter in ((geometry.weight, module.weight), (geometry.bias, module.bias))
        if parameter is not None and parameter.requires_grad
    ]
    keeps_input = call.output_requires_grad and module.weight.requires_grad
    return (
        _bytes(total([geometry.weight, geometry.bias]), parameter_bytes).equation(
            "parameter_bytes", "B"
        ),
        _bytes(total(trainable), parameter_bytes).equation("gradient_bytes", "B"),
        _bytes(kept_input if keeps_input else ZERO, geometry.item_bytes).equation(
            "activation_bytes", "B"
        ),
        _bytes(geometry.output, geometry.item_bytes).equation("output_bytes", "B"),
    )


def _forward(geometry: _Geometry) -> Cost:
    g = geometry
    sizes = tuple(size.equation(f"{axis}_out", "") for axis, size in g.output_sizes.items())
    return _cost(
        flop=2 * g.multiply_accumulates,
        elementwise=("bias additions", g.output if g.bias.value else ZERO),
        read=total([g.input, g.weight, g.bias]),
        write=g.output,
        allocated=_bytes(total([g.output, g.padded_input]), g.item_bytes),
        item_bytes=g.item_bytes,
        preamble=sizes,
    )


def _grad_input(geometry: _Geometry) -> Cost:
    g = geometry
    return _cost(
        flop=2 * g.multiply_accumulates,
        elementwise=("", ZERO),
        read=total([g.output, g.weight]),
        write=g.input,
        allocated=_bytes(g.input, g.item_bytes),
        item_bytes=g.item_bytes,
    )


def _grad_weight(geometry: _Geometry, *, weight: bool, bias: bool) -> Cost:
    g = geometry
    gradients = total([g.weight if weight else ZERO, g.bias if bias else ZERO])
    return _cost(
        flop=2 * g.multiply_accumulates if weight else ZERO,
        elementwise=("bias gradient additions", g.output if bias else ZERO),
        read=total([g.output, g.input if weight else ZERO]),
        write=gradients,
        allocated=_bytes(gradients, g.parameter_item_bytes),
        item_bytes=g.item_bytes,
    )


def _cost(
    *,
    flop: Expression,
    elementwise: tuple[str, Expression],
    read: Expression,
    write: Expression,
    allocated: Expression,
    item_bytes: Expression,
    preamble: tuple[Equation, ...] = (),
) -> Cost:
    read, write = _bytes(read, item_bytes), _bytes(write, item_bytes)
    elementwise_name, elementwise_count = elementwise
    lines = [
        flop.equation("FLOPs", "FLOP"),
        elementwise_count.equation(elementwise_name, "FLOP"),
        read.equation("compulsory reads", "B"),
        write.equation("compulsory writes", "B"),
        allocated.equation("allocated", "B"),
    ]
    return Cost(
        flop=flop.value,
        elementwise_flop=elementwise_count.value,
        read_bytes=read.value,
        write_bytes=write.value,
        allocated_bytes=allocated.value,
        derivation=preamble + tuple(line for line in lines if line.value),
    )


def _bytes(elements: Expression, item_bytes: Expression) -> Expression:
    return elements * item_bytes if elements.value else ZERO


def _geometry(module: _Convolution, call: Call) -> _Geometry:
    if call.dtype is None:
        raise ValueError(f"{call.layer} returned no tensor, so its element size is unknown")
    axes = _AXES[len(module.kernel_size)]
    shape = call.input_shapes[0]
    batch_size = shape[0] if len(shape) == len(axes) + 2 else 1  # an unbatched input is allowed
    spatial = shape[-len(axes) :]

    n = symbol("N", batch_size)
    c_in, c_out = symbol("C_in", module.in_channels), symbol("C_out", module.out_channels)
    kernel = [
        symbol(f"K_{axis}", size) for axis, size in zip(axes, module.kernel_size, strict=True)
    ]
    sizes = [symbol(axis, size) for axis, size in zip(axes, spatial, strict=True)]
    padding = _total_padding(module)

    output_sizes = {
        axis: _output_size(
            size, symbol(f"P_{axis}", pad), symbol(f"d_{axis}", dilation), kernel_size, stride
        )
        for axis, size, pad, dilation, kernel_size, stride in zip(
            axes, sizes, padding, module.dilation, kernel, module.stride, strict=True
        )
    }
    output = product(
        [n, c_out, *(size.named(f"{axis}_out") for axis, size in output_sizes.items())]
    )
    group_inputs = c_in if module.groups == 1 else c_in // symbol("groups", module.groups)
    taps = product([group_inputs, *kernel])
    return _Geometry(
        output_sizes=output_sizes,
        multiply_accumulates=output * taps,
        input=product([n, c_in, *sizes]),
        padded_input=_padded_input(module, [n, c_in], sizes),
        weight=c_out * taps,
        bias=c_out if module.bias is not None else ZERO,
        output=output,
        item_bytes=symbol("bytes per element", call.dtype.itemsize),
        parameter_item_bytes=symbol("bytes per parameter", module.weight.itemsize),
    )


def _output_size(
    size: Expression, padding: Expression, dilation: Expression, kernel: Expression, stride: int
) -> Expression:
    span = size + padding if padding.value else size
    reach = dilation * (kernel - 1) if dilation.value != 1 else kernel - 1
    return (span - reach - 1) // symbol("stride", stride) + 1


def _total_padding(module: _Convolution) -> tuple[int, ...]:
    """Padding of both sides together, per axis."""
    if module.padding == "valid":
        return (0,) * len(module.kernel_size)
    if module.padding == "same":
        return tuple(
            dilation * (kernel - 1)
            for dilation, kernel in zip(module.dilation, module.kernel_size, strict=True)
        )
    return tuple(2 * int(padding) for padding in module.padding)


def _padded_input(
    module: _Convolution, leading: list[Expression], sizes: list[Expression]
) -> Expression:
    """Elements of the padded copy of the input that PyTorch has to create, if it does.

    Zero padding is part of the convolution kernel unless 'same' needs one more element on one
    side than on the other: then that element is padded first. All other modes pad the whole.
    """
    padding = _total_padding(module)
    if module.padding_mode == "zeros":
        if module.padding != "same":
            return ZERO
        padding = tuple(amount % 2 for amount in padding)
        if not any(padding):
            return ZERO
    padded_sizes = [
        size + amount if amount else size for size, amount in zip(sizes, padding, strict=True)
    ]
    return product([*leading, *padded_sizes])
