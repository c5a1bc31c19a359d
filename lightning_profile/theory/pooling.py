"""Closed forms of pooling in one, two and three dimensions.

    MaxPool   y = max over the window                 grad_x: each g is added to its maximum
    AvgPool   y = Σ window / divisor                  grad_x: each g / divisor, to all of its window
    LPPool    y = (Σ window xᵖ)^(1/p)                 grad_x = x^(p−1) Σ windows g y^(1−p)

as PyTorch's documentation of ``torch.nn`` ("Pooling layers") defines them. A window of K elements
takes K comparisons or K additions; positions in the padding, or beyond it with ``ceil_mode``,
count like any other, as in a convolution. Powers of the inputs are taken once per input.

An adaptive pool from I to O places its i-th window on ⌊i·I/O⌋ … ⌈(i+1)·I/O⌉ − 1. Two neighbours
share an element unless O divides i·I, so all of them together see I + O − gcd(I, O).

The backward of a maximum reads where it was: PyTorch keeps an int64 index for each output.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch import nn

from lightning_profile.records import Call, PhaseCosts
from lightning_profile.theory.convolution_geometry import AXES
from lightning_profile.theory.cost import phase_cost
from lightning_profile.theory.elementwise import (
    forward_cost,
    grad_input_cost,
    has_one_input,
    input_bytes,
    input_elements,
    input_phases,
    needs_input_gradient,
    output_bytes,
    output_elements,
    times,
)
from lightning_profile.theory.expression import ZERO, Expression, product, symbol, total
from lightning_profile.theory.registry import kept_activations, phase_costs
from lightning_profile.theory.tensors import NamedTensor, input_gradients, output_tensors

_INDEX_BYTES = 8
MAXIMA: dict[int, tuple[type[nn.Module], type[nn.Module]]] = {
    1: (nn.MaxPool1d, nn.AdaptiveMaxPool1d),
    2: (nn.MaxPool2d, nn.AdaptiveMaxPool2d),
    3: (nn.MaxPool3d, nn.AdaptiveMaxPool3d),
}
AVERAGES: dict[int, tuple[type[nn.Module], type[nn.Module]]] = {
    1: (nn.AvgPool1d, nn.AdaptiveAvgPool1d),
    2: (nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    3: (nn.AvgPool3d, nn.AdaptiveAvgPool3d),
}
POWERS: dict[int, type[nn.Module]] = {1: nn.LPPool1d, 2: nn.LPPool2d, 3: nn.LPPool3d}


def _windows(dimensions: int, module: Any, call: Call) -> Expression:
    """Elements of all windows together."""
    kernel = module.kernel_size
    sizes = kernel if isinstance(kernel, tuple) else (kernel,) * dimensions
    axes = AXES[dimensions]
    taps = [symbol(f"K_{axis}", size) for axis, size in zip(axes, sizes, strict=True)]
    return product([output_elements(call), *taps])


def _adaptive_windows(dimensions: int, module: Any, call: Call) -> Expression:
    """Elements of all windows together."""
    shape, out_shape = call.inputs[0].shape, call.outputs[0].shape
    seen = [
        symbol(axis, size)
        + symbol(f"{axis}_out", out)
        - symbol(f"gcd({axis}, {axis}_out)", math.gcd(size, out))
        for axis, size, out in zip(
            AXES[dimensions], shape[-dimensions:], out_shape[-dimensions:], strict=True
        )
    ]
    return product([symbol("planes", math.prod(shape[:-dimensions])), *seen])


def _max_costs(windows: Any, dimensions: int, module: Any, call: Call) -> PhaseCosts | None:
    if len(call.inputs) != 1 or len(call.outputs) != 1 + bool(module.return_indices):
        return None
    indices = symbol("bytes per index", _INDEX_BYTES) * output_elements(call)
    is_kept = needs_input_gradient(call) and not module.return_indices
    written = total([output_bytes(call), indices if is_kept else ZERO])
    forward = phase_cost(
        elementwise=windows(dimensions, module, call),
        elementwise_name="comparisons",
        read=input_bytes(call),
        write=written,
        allocated=[*output_tensors(call), *([NamedTensor("indices", indices)] if is_kept else [])],
    )
    additions = output_elements(call)
    grad_input = grad_input_cost(call, additions, needed=indices, allocated=input_gradients(call))
    return input_phases(call, forward, grad_input)


def _average_costs(windows: Any, dimensions: int, module: Any, call: Call) -> PhaseCosts | None:
    if not has_one_input(call):
        return None
    # As many additions, and a division for each output, there as back.
    operations = windows(dimensions, module, call) + output_elements(call)
    return input_phases(
        call,
        forward_cost(call, operations, allocated=output_tensors(call)),
        grad_input_cost(call, operations, needed=ZERO, allocated=input_gradients(call)),
    )


def _power_costs(dimensions: int, module: Any, call: Call) -> PhaseCosts | None:
    if not has_one_input(call) or math.isinf(module.norm_type):
        return None
    additions, sources = _windows(dimensions, module, call), input_elements(call)
    outputs = output_elements(call)
    # Its powers, kept for the backward, are made by several operators; no closed form says them.
    allocated = None if needs_input_gradient(call) else output_tensors(call)
    return input_phases(
        call,
        forward_cost(call, sources + additions + outputs, allocated=allocated),
        grad_input_cost(
            call,
            times(2, outputs) + additions + times(2, sources),
            needed=total([input_bytes(call), output_bytes(call)]),
            allocated=input_gradients(call),
        ),
    )


def _kept_by_maximum(module: Any, call: Call) -> Expression:
    if not needs_input_gradient(call):
        return ZERO
    indices = symbol("bytes per index", _INDEX_BYTES) * output_elements(call)
    return input_bytes(call) + indices


def _kept_by_average(module: Any, call: Call) -> Expression:
    # PyTorch's backward takes the input, if only for its sizes.
    return input_bytes(call) if needs_input_gradient(call) else ZERO


def _kept_by_adaptive_average(dimensions: int, module: Any, call: Call) -> Expression:
    is_mean = all(size == 1 for size in call.outputs[0].shape[-dimensions:])
    return ZERO if is_mean else _kept_by_average(module, call)


for axes_count, (plain, adaptive) in MAXIMA.items():
    phase_costs.register(plain, partial(_max_costs, _windows, axes_count))
    phase_costs.register(adaptive, partial(_max_costs, _adaptive_windows, axes_count))
    kept_activations.register(plain, _kept_by_maximum)
    kept_activations.register(adaptive, _kept_by_maximum)
for axes_count, (plain, adaptive) in AVERAGES.items():
    phase_costs.register(plain, partial(_average_costs, _windows, axes_count))
    phase_costs.register(adaptive, partial(_average_costs, _adaptive_windows, axes_count))
    kept_activations.register(plain, _kept_by_average)
    kept_activations.register(adaptive, partial(_kept_by_adaptive_average, axes_count))
for axes_count, kind in POWERS.items():
    phase_costs.register(kind, partial(_power_costs, axes_count))
