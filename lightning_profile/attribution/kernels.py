"""Sums over a row's kernels: by name, from the first to the last, and by gradient.

They are added up once per span; a row then adds up the spans inside of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lightning_profile.attribution.spans import Row, Span
from lightning_profile.kernel_names import gradient_by_name, kernel_kind
from lightning_profile.records import Call, DeviceUse, Kernel, KernelUse, Op, Phase

_PRODUCTS = ("matrix product", "transform")


@dataclass(slots=True)
class _SpanKernels:
    """The kernels of one span's own operators."""

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
        spans: Every span.
    """

    def __init__(
        self, ops: Sequence[Op], calls: Sequence[Call | None], spans: Iterable[Span]
    ) -> None:
        self._of_span: dict[Span, _SpanKernels] = {}
        for span in spans:
            launching = [op for position in span.ops if (op := ops[position]).launched]
            if launching:
                call = None if span.position is None else calls[span.position]
                self._of_span[span] = _add_up(launching, span.row, call)

    def use(self, row: Row, spans: Iterable[Span]) -> DeviceUse:
        """What ``row`` did, of which all ``spans`` are a part."""
        inside = [(span, self._of_span[span]) for span in spans if span in self._of_span]
        gradients_ns: dict[Phase, int] = {}
        if not any(sums.has_untold_product for _, sums in inside):
            for _, sums in inside:
                for phase, time_ns in sums.gradients_ns.items():
                    gradients_ns[phase] = gradients_ns.get(phase, 0) + time_ns
        is_rest = row.layer is None and not row.is_optimizer
        return DeviceUse(
            kernels=_kernel_uses([sums for _, sums in inside]),
            span_ns=None if is_rest else _span_ns(row, inside),
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


def _add(sums: _SpanKernels, kernel: Kernel) -> None:
    count, time_ns = sums.by_name.get(kernel.name, (0, 0))
    sums.by_name[kernel.name] = (count + 1, time_ns + kernel.device_time_ns)
    if sums.start_ns is None or kernel.start_ns < sums.start_ns:
        sums.start_ns = kernel.start_ns
    sums.end_ns = max(sums.end_ns, kernel.end_ns)


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


def _kernel_uses(spans: Iterable[_SpanKernels]) -> tuple[KernelUse, ...]:
    by_name: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for sums in spans:
        for name, part in sums.by_name.items():
            by_name[name].append(part)
    times_ns = {name: sum(time_ns for _, time_ns in parts) for name, parts in by_name.items()}
    total_ns = sum(times_ns.values()) or 1
    return tuple(
        KernelUse(
            name=name,
            kind=kernel_kind(name),
            count=sum(count for count, _ in by_name[name]),
            device_time_ns=times_ns[name],
            share=times_ns[name] / total_ns,
        )
        for name in sorted(times_ns, key=lambda name: -times_ns[name])
    )


def _span_ns(row: Row, inside: Iterable[tuple[Span, _SpanKernels]]) -> int | None:
    """Summed over the executions of the row, as between them others ran."""
    ends: dict[Span, tuple[int, int]] = {}
    for span, sums in inside:
        if sums.start_ns is not None:
            execution = next(each for each in span.around() if each.row is row)
            start_ns, end_ns = ends.get(execution, (sums.start_ns, sums.end_ns))
            ends[execution] = min(start_ns, sums.start_ns), max(end_ns, sums.end_ns)
    return sum(end - start for start, end in ends.values()) if ends else None


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
