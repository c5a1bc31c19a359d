"""Element counts of a convolution's operands, plain and transposed, in one to three dimensions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lightning_profile.records import Call
from lightning_profile.theory.expression import ZERO, Expression, product, symbol

AXES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
TransposedConvolution = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


@dataclass(frozen=True, slots=True)
class Geometry:
    """Element counts of every operand, each an expression over the layer's geometry.

    Attributes:
        output_sizes: Per axis.
        multiply_accumulates: Of each of the three products.
        input: Elements of the input.
        padded_input: Of its padded copy; ``ZERO`` unless the padding is materialised as a tensor.
        weight: Of the weight.
        bias: Of the bias; ``ZERO`` without one.
        output: Of the output.
        item_bytes: Per element of input and output.
        parameter_item_bytes: Per element of weight and bias.
    """

    output_sizes: dict[str, Expression]
    multiply_accumulates: Expression
    input: Expression
    padded_input: Expression
    weight: Expression
    bias: Expression
    output: Expression
    item_bytes: Expression
    parameter_item_bytes: Expression

    def fits(self, call: Call) -> bool:
        """Whether the output that was seen has the sizes that the closed form says."""
        sizes = tuple(size.value for size in self.output_sizes.values())
        return len(call.outputs) == 1 and call.outputs[0].shape[-len(sizes) :] == sizes


def convolution_geometry(module: Convolution, call: Call) -> Geometry:
    """The kernel is placed on every position of the output."""
    n, c_in, c_out, sizes, kernel = _symbols(module, call)
    padding = _total_padding(module)
    output_sizes = {
        axis: _output_size(size, symbol(f"P_{axis}", pad), symbol(f"d_{axis}", dilation), k, stride)
        for axis, size, pad, dilation, k, stride in zip(
            AXES[len(sizes)], sizes, padding, module.dilation, kernel, module.stride, strict=True
        )
    }
    output = product([n, c_out, *_named(output_sizes)])
    taps = product([_per_group(c_in, module), *kernel])
    return Geometry(
        output_sizes=output_sizes,
        multiply_accumulates=output * taps,
        input=product([n, c_in, *sizes]),
        padded_input=_padded_input(module, [n, c_in], sizes),
        weight=c_out * taps,
        bias=c_out if call.has("bias") else ZERO,
        output=output,
        item_bytes=_item_bytes(call),
        parameter_item_bytes=_parameter_item_bytes(call),
    )


def transposed_geometry(module: TransposedConvolution, call: Call) -> Geometry:
    """The kernel is placed on every position of the input."""
    n, c_in, c_out, sizes, kernel = _symbols(module, call)
    seen = call.outputs[0].shape[-len(sizes) :]
    output_sizes = {
        axis: _transposed_size(
            size, symbol(f"P_{axis}", 2 * pad), symbol(f"d_{axis}", dilation), k, stride, seen_size
        )
        for axis, size, pad, dilation, k, stride, seen_size in zip(
            AXES[len(sizes)],
            sizes,
            module.padding,
            module.dilation,
            kernel,
            module.stride,
            seen,
            strict=True,
        )
    }
    source = product([n, c_in, *sizes])
    taps = product([_per_group(c_out, module), *kernel])
    return Geometry(
        output_sizes=output_sizes,
        multiply_accumulates=source * taps,
        input=source,
        padded_input=ZERO,
        weight=c_in * taps,
        bias=c_out if call.has("bias") else ZERO,
        output=product([n, c_out, *_named(output_sizes)]),
        item_bytes=_item_bytes(call),
        parameter_item_bytes=_parameter_item_bytes(call),
    )


def _symbols(
    module: Convolution | TransposedConvolution, call: Call
) -> tuple[Expression, Expression, Expression, list[Expression], list[Expression]]:
    """N, C_in, C_out, the input's sizes and the kernel's."""
    axes = AXES[len(module.kernel_size)]
    shape = call.inputs[0].shape
    batch_size = shape[0] if len(shape) == len(axes) + 2 else 1  # an unbatched input is allowed
    spatial = shape[-len(axes) :]
    return (
        symbol("N", batch_size),
        symbol("C_in", module.in_channels),
        symbol("C_out", module.out_channels),
        [symbol(axis, size) for axis, size in zip(axes, spatial, strict=True)],
        [symbol(f"K_{axis}", size) for axis, size in zip(axes, module.kernel_size, strict=True)],
    )


def _named(sizes: dict[str, Expression]) -> list[Expression]:
    return [size.named(f"{axis}_out") for axis, size in sizes.items()]


def _per_group(channels: Expression, module: Convolution | TransposedConvolution) -> Expression:
    return channels if module.groups == 1 else channels // symbol("groups", module.groups)


def _item_bytes(call: Call) -> Expression:
    return symbol("bytes per element", call.outputs[0].dtype.itemsize)


def _parameter_item_bytes(call: Call) -> Expression:
    weight = next(each for each in call.parameters if each.role == "weight")
    return symbol("bytes per parameter", weight.dtype.itemsize)


def _output_size(
    size: Expression, padding: Expression, dilation: Expression, kernel: Expression, stride: int
) -> Expression:
    span = size + padding if padding.value else size
    return (span - _reach(dilation, kernel) - 1) // symbol("stride", stride) + 1


def _transposed_size(
    size: Expression,
    padding: Expression,
    dilation: Expression,
    kernel: Expression,
    stride: int,
    seen: int,
) -> Expression:
    """The closed form leaves up to a stride open; output_padding, or output_size, says which."""
    least = (size - 1) * symbol("stride", stride)
    if padding.value:
        least = least - padding
    least = least + _reach(dilation, kernel) + 1
    extra = seen - least.value
    if not 0 < extra < max(stride, dilation.value):
        return least
    return least + symbol("output padding", extra)


def _reach(dilation: Expression, kernel: Expression) -> Expression:
    return dilation * (kernel - 1) if dilation.value != 1 else kernel - 1


def _total_padding(module: Convolution) -> tuple[int, ...]:
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
    module: Convolution, leading: list[Expression], sizes: list[Expression]
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
