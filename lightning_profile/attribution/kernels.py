"""Sums over a row's kernels: by name, from the first to the last, and by gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lightning_profile.attribution.spans import Row, Span, with_inside
from lightning_profile.kernel_names import gradient_by_name, kernel_kind
from lightning_profile.records import Call, DeviceUse, Kernel, KernelUse, Op, Phase

_PRODUCTS = ("matrix product", "transform")


@dataclass(slots=True)
class _SpanKernels:
    """Sums over the kernels of an execution."""

    by_name: dict[str, tuple[int, int]] = field(default_factory=dict)  # count and time
    start_ns: int | None = None
    end_ns: int = 0
    gradients_ns: dict[Phase, int] = field(default_factory=dict)
    has_untold_product: bool = False


class KernelSums:
    """What each row did on the device.

    Args:
        ops: Recorded operators.
        calls: The window's list of calls.
        spans: Every span, each after those around it.
    """

    def __init__(
        self, ops: Sequence[Op], calls: Sequence[Call | None], spans: Iterable[Span]
    ) -> None:
        alone = {}
        for span in spans:
            call = None if span.position is None else calls[span.position]
            alone[span] = _add_up([ops[position] for position in span.ops], span.row, call)
        self._totals = with_inside(alone, _merge)

    def use(self, row: Row, executions: Sequence[Span]) -> DeviceUse:
        """What ``row`` did in its ``executions``."""
        totals = [self._totals[span] for span in executions]
        total = _merge(totals)
        gradients_ns = {} if total.has_untold_product else total.gradients_ns
        is_rest = row.layer is None and not row.is_optimizer
        return DeviceUse(
            kernels=_kernel_uses(total),
            span_ns=None if is_rest else _span_ns(totals),
            grad_input_device_time_ns=gradients_ns.get(Phase.GRAD_INPUT),
            grad_weight_device_time_ns=gradients_ns.get(Phase.GRAD_WEIGHT),
        )


def _add_up(ops: Iterable[Op], row: Row, call: Call | None) -> _SpanKernels:
    sums = _SpanKernels()
    for op in ops:
        for kernel in op.launched or ():
            _add(sums, kernel)
            if row.phase is Phase.BACKWARD:
                _add_gradient(sums, op, kernel, call)
    return sums


def _merge(parts: Sequence[_SpanKernels]) -> _SpanKernels:
    if len(parts) == 1:
        return parts[0]
    merged = _SpanKernels()
    for part in parts:
        for name, (count, time_ns) in part.by_name.items():
            known_count, known_ns = merged.by_name.get(name, (0, 0))
            merged.by_name[name] = (known_count + count, known_ns + time_ns)
        for gradient, time_ns in part.gradients_ns.items():
            merged.gradients_ns[gradient] = merged.gradients_ns.get(gradient, 0) + time_ns
        merged.has_untold_product |= part.has_untold_product
        if part.start_ns is not None:
            _widen(merged, part.start_ns, part.end_ns)
    return merged


def _widen(sums: _SpanKernels, start_ns: int, end_ns: int) -> None:
    if sums.start_ns is None or start_ns < sums.start_ns:
        sums.start_ns = start_ns
    sums.end_ns = max(sums.end_ns, end_ns)


def _add(sums: _SpanKernels, kernel: Kernel) -> None:
    count, time_ns = sums.by_name.get(kernel.name, (0, 0))
    sums.by_name[kernel.name] = (count + 1, time_ns + kernel.device_time_ns)
    _widen(sums, kernel.start_ns, kernel.end_ns)


def _add_gradient(sums: _SpanKernels, op: Op, kernel: Kernel, call: Call | None) -> None:
    """Add the time of a product, or of the sum over its parts, to its gradient's.

    What a layout conversion or another reduction is for can't be told, so they are in neither. A
    product that can't be told may be a part of either, so both become unknown.
    """
    gradient = _gradient(op, kernel, call)
    if gradient is not None:
        earlier_ns = sums.gradients_ns.get(gradient, 0)
        sums.gradients_ns[gradient] = earlier_ns + kernel.device_time_ns
    elif kernel_kind(kernel.name) in _PRODUCTS:
        sums.has_untold_product = True


def _kernel_uses(sums: _SpanKernels) -> tuple[KernelUse, ...]:
    """The longest first."""
    total_ns = sum([time_ns for _, time_ns in sums.by_name.values()]) or 1
    return tuple(
        [
            KernelUse(
                name=name,
                kind=kernel_kind(name),
                count=count,
                device_time_ns=time_ns,
                share=time_ns / total_ns,
            )
            for name, (count, time_ns) in sorted(sums.by_name.items(), key=lambda pair: -pair[1][1])
        ]
    )


def _span_ns(executions: Iterable[_SpanKernels]) -> int | None:
    """Summed over the executions, as between them others ran."""
    spans_ns = [each.end_ns - each.start_ns for each in executions if each.start_ns is not None]
    return sum(spans_ns) if spans_ns else None


def _gradient(op: Op, kernel: Kernel, call: Call | None) -> Phase | None:
    if op.product is None or call is None:
        return gradient_by_name(kernel.name)
    return _gradient_by_shape(op.product, call)


def _gradient_by_shape(product: tuple[int, int, int], call: Call) -> Phase | None:
    """Which gradient of a Linear a product computes; ``None`` if its shape could be either's.

    grad_x (N × in) = grad_y (N × out) W; grad_W (out × in, or transposed) contracts the N rows.
    """
    weights = [each.shape for each in call.parameters if len(each.shape) == 2]
    if len(weights) != 1 or len(call.inputs) != 1 or 0 in weights[0]:
        return None
    ((outputs, inputs),) = weights
    positions = call.inputs[0].elements // inputs
    rows, contracted, columns = product
    is_input = product == (positions, outputs, inputs)
    is_weight = contracted == positions and sorted((rows, columns)) == sorted((outputs, inputs))
    if is_input == is_weight:
        return None
    return Phase.GRAD_INPUT if is_input else Phase.GRAD_WEIGHT
