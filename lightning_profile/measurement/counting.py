"""Counted FLOPs: formulas applied to the operators that ran, by their recorded shapes.

torch.profiler's ``with_flops`` comes first, then those of ``torch.utils.flop_counter`` for
attention. Neither has a formula for a convolution's backward that is right: up to torch 2.15
``flop_counter`` counts grad_weight of a grouped convolution ``groups`` times. That one,
recurrent layers of oneDNN and cuDNN and products with vectors are counted here.

All formulas see shapes only: the masked half of causal attention is counted like the rest.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

Shape = Sequence[int]

# Operators of torch that do products and have no formula anywhere: what contains one has no
# known count. Attention and recurrent layers are in the list for variants without a formula.
_WITHOUT_FORMULA = re.compile(
    r"aten::(_?(flash|efficient|cudnn|fused|native_multi_head)_attention|_scaled_dot_product_(?!attention_math)|"
    r"_native_multi_head_attention|_transformer_encoder_layer|miopen_rnn|"
    r"_?(scaled_)?grouped_mm|addr$|ger$|\w*convolution\w*double_backward|_fft_|"
    r"_?linalg_(inv|solve|lu|qr|svd|eig|cholesky|householder|lstsq|det|slogdet|matrix_exp|ldl)|"
    r"cholesky|lu_|geqrf|orgqr|ormqr|triangular_solve|conv_tbc|_weight_int\wpack_mm|_dyn_quant_)|"
    r"quantized::\w*(linear|conv|matmul)|"
    r"Torch-Compiled Region|## Call CompiledFxGraph|CompiledFunction"
)

# Operators that others brought along may do anything, but for those known to do no products.
_FOREIGN = re.compile(r"(?!aten::|prim::|autograd::|torch::|c10d::|profiler::|gloo:|nccl:)\w+::\w+")
_WITHOUT_PRODUCTS = re.compile(r"torchvision::_?(nms|roi_align|roi_pool|ps_roi_align|ps_roi_pool)")

TAKES_LISTS = frozenset({"aten::_cudnn_rnn", "aten::_cudnn_rnn_backward"})  # of tensors
_ELEMENTWISE = frozenset({"aten::add", "aten::mul"})  # with_flops: one per element, not products


class RecordedOperator(Protocol):
    """The part of a kineto event that is counted from."""

    def flops(self) -> int:
        """torch.profiler's own count, 0 where it has no formula."""

    def shapes(self) -> Sequence[Shape]:
        """Shape of each argument, empty for those that are no tensors."""

    def concrete_inputs(self) -> Sequence[Any]:
        """Value of each argument, ``None`` for tensors."""


def counted_flop(name: str, operator: RecordedOperator) -> tuple[int | None, int | None]:
    """Products and element-wise operations of one operator.

    Args:
        name: The operator, such as ``aten::convolution_backward``.
        operator: What was recorded of it.

    Returns:
        FLOPs of products and FLOPs of element-wise operations; ``None`` without a formula.
    """
    with_flops = operator.flops()
    if name in _ELEMENTWISE:
        return None, with_flops or None
    if with_flops:
        return with_flops, None
    formula = _FORMULAS.get(name)
    if formula is None:
        return None, None
    try:
        return formula(operator.shapes(), operator.concrete_inputs()), None
    except (AssertionError, IndexError, TypeError, ValueError):
        return None, None  # not recorded, or a variant of the operator that it does not fit


@functools.cache
def lacks_formula(name: str, *, is_leaf: bool) -> bool:
    """Whether the operator does, or may do, products that nothing here can count.

    Args:
        name: The operator.
        is_leaf: Whether no other operators ran inside of it, to be counted instead.
    """
    if name in _FORMULAS or _WITHOUT_FORMULA.match(name):
        return True
    return bool(is_leaf and _FOREIGN.match(name) and not _WITHOUT_PRODUCTS.match(name))


def _convolution(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    # Arguments: input, weight, bias, stride, padding, dilation, transposed, output_padding and
    # groups, in this order.
    if len(arguments) < 9 or not shapes[0] or not shapes[1]:
        return None
    source, weight = shapes[0], shapes[1]
    stride, padding, dilation, transposed = arguments[3:7]
    if transposed:
        return _flop(pixels_of=source, weight=weight)
    output = [
        (size + 2 * pad - dil * (kernel - 1) - 1) // step + 1
        for size, kernel, step, pad, dil in zip(
            source[2:], weight[2:], stride, padding, dilation, strict=True
        )
    ]
    return _flop(pixels_of=[source[0], weight[0], *output], weight=weight)


def _convolution_backward(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    # Arguments: grad_output, input, weight, bias_sizes, stride, padding, dilation, transposed,
    # output_padding, groups, output_mask; the mask names the gradients that are computed.
    if len(arguments) < 11 or not all(shapes[:3]) or arguments[10] is None:
        return None
    grad_output, source, weight = shapes[:3]
    transposed, (wants_input, wants_weight, _) = arguments[7], arguments[10]
    # Each gradient takes as many multiply-accumulates as the forward.
    once = _flop(pixels_of=source if transposed else grad_output, weight=weight)
    return once * (int(wants_input) + int(wants_weight))


def _flop(*, pixels_of: Shape, weight: Shape) -> int:
    """2 FLOPs for each weight at each position of the side that the kernel is placed on."""
    return 2 * pixels_of[0] * math.prod(pixels_of[2:]) * math.prod(weight)


def _matrix_product(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    left, right = shapes[0], shapes[1]
    return 2 * math.prod(left) * right[-1] if len(left) == len(right) == 2 else None


def _biased_matrix_product(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    return _matrix_product(shapes[1:], arguments)


def _biased_batched_product(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    left, right = shapes[1], shapes[2]
    return 2 * math.prod(left) * right[-1] if len(left) == len(right) == 3 else None


def _first_twice(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    """A matrix or a vector, each of whose elements is multiplied and added once."""
    return 2 * math.prod(shapes[0])


def _matrix_vector_product(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    return _first_twice(shapes[1:], arguments)


def _attention(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    if any(len(shape) != 4 for shape in shapes[:3]):
        return None
    return int(sdpa_flop_count(*shapes[:3]))  # type: ignore[no-untyped-call]


def _attention_backward(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    if any(len(shape) != 4 for shape in shapes[:4]):
        return None
    return int(sdpa_backward_flop_count(*shapes[:4]))  # type: ignore[no-untyped-call]


def _recurrent_layer(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    # Arguments: input (steps, batch, features), weights of the input and of the hidden state.
    source, input_weight, hidden_weight = shapes[:3]
    if len(source) != 3:
        return None
    return 2 * math.prod(source[:2]) * (math.prod(input_weight) + math.prod(hidden_weight))


def _recurrent_layer_backward(shapes: Sequence[Shape], arguments: Sequence[Any]) -> int | None:
    # It always computes all gradients, that of the first hidden state too.
    once = _recurrent_layer(shapes, arguments)
    return None if once is None else 2 * once


def _cudnn_recurrent(shapes: Sequence[Any], arguments: Sequence[Any]) -> int | None:
    # Arguments: input (…, features), a list of all parameters, and how many of those a layer has
    # in one direction: two weights, then two biases if any, then a projection if any. Every
    # weight is multiplied with every row.
    source, parameters, count = shapes[0], shapes[1], arguments[2]
    if not parameters:
        return None
    weights: list[int] = [
        math.prod(shape)
        for position, shape in enumerate(parameters)
        if position % count < 2 or (count % 2 and position % count == count - 1)
    ]
    rows: int = math.prod(source[:-1])
    return 2 * rows * sum(weights)


def _cudnn_recurrent_backward(shapes: Sequence[Any], arguments: Sequence[Any]) -> int | None:
    # The last argument says whether gradients of input, states and weights are computed. Those
    # of input and states come together.
    once = _cudnn_recurrent(shapes, arguments)
    *_, wants_weights = arguments[-1]
    return None if once is None else once * (1 + int(wants_weights))


_FORMULAS: dict[str, Callable[[Sequence[Shape], Sequence[Any]], int | None]] = {
    "aten::convolution": _convolution,
    "aten::convolution_backward": _convolution_backward,
    "aten::addmm_": _biased_matrix_product,
    "aten::_addmm_activation": _biased_matrix_product,
    "aten::baddbmm_": _biased_batched_product,
    "aten::addbmm": _biased_batched_product,
    "aten::addbmm_": _biased_batched_product,
    "aten::_int_mm": _matrix_product,
    "aten::_scaled_mm": _matrix_product,
    "aten::mv": _first_twice,
    "aten::dot": _first_twice,
    "aten::vdot": _first_twice,
    "aten::addmv": _matrix_vector_product,
    "aten::addmv_": _matrix_vector_product,
    "aten::_cudnn_rnn": _cudnn_recurrent,
    "aten::_cudnn_rnn_backward": _cudnn_recurrent_backward,
    "aten::mkldnn_rnn_layer": _recurrent_layer,
    "aten::mkldnn_rnn_layer_backward": _recurrent_layer_backward,
} | {
    f"aten::_scaled_dot_product_{kind}{suffix}": formula
    for kind in (
        "flash_attention",
        "flash_attention_for_cpu",
        "efficient_attention",
        "cudnn_attention",
        "fused_attention_overrideable",
    )
    for suffix, formula in (("", _attention), ("_backward", _attention_backward))
}
