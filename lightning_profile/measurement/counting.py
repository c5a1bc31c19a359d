"""Counted FLOPs: formulas applied to the operators that ran, by their recorded shapes.

torch.profiler's ``with_flops`` comes first. It has no formula for a convolution's backward, for
convolutions other than ``aten::conv2d``, nor for string paddings, so the two general convolution
operators have one here. ``torch.utils.flop_counter`` has formulas for them too, but up to torch
2.15 its backward counts grad_weight of a grouped convolution ``groups`` times.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

Shape = Sequence[int]

# Operators that multiply and have no formula anywhere: what contains one has no known count.
_WITHOUT_FORMULA = re.compile(
    r"aten::(_scaled_dot_product|_?(flash|efficient)_attention|(_cudnn_|_thnn_|mkldnn_)?"
    r"(rnn|lstm|gru)|_trilinear|_int_mm|_scaled_mm|_grouped_mm|addmv|mv$|dot$|vdot|addr|ger$)"
)

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
    return formula(operator.shapes(), operator.concrete_inputs()), None


def lacks_formula(name: str) -> bool:
    """Whether the operator does products that nothing here can count."""
    return _WITHOUT_FORMULA.match(name) is not None


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


_FORMULAS: dict[str, Callable[[Sequence[Shape], Sequence[Any]], int | None]] = {
    "aten::convolution": _convolution,
    "aten::convolution_backward": _convolution_backward,
}
