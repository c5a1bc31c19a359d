"""Sums over a row's kernels: by name, from the first to the last, and by gradient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from lightning_profile.attribution.kernel_kinds import gradient_by_name, kernel_kind
from lightning_profile.attribution.spans import RowKey, Span
from lightning_profile.records import Call, DeviceUse, Kernel, KernelUse, Op, Phase

_PRODUCTS = ("matrix product", "transform")

_Inside = tuple[Span, Sequence[Op]]  # with its own operators


def use_of_device(
    key: RowKey, ops: Sequence[Op], calls: Sequence[Call | None], spans: Sequence[Span]
) -> DeviceUse:
    """What the row ``key`` did on the device.

    Args:
        key: The row.
        ops: Recorded operators.
        calls: The window's list of calls.
        spans: All that is inside of the row.
    """
    inside = [(span, [ops[position] for position in span.ops]) for span in spans]
    if any(op.launches_graph for _, own in inside for op in own):
        return DeviceUse(launches_graph=True)
    grad_input_ns, grad_weight_ns = None, None
    if key.phase is Phase.BACKWARD:
        grad_input_ns, grad_weight_ns = _gradient_times_ns(calls, inside)
    return DeviceUse(
        kernels=_kernel_uses(op for _, own in inside for op in own),
        span_ns=_span_ns(key, inside) if key.layer is not None or key.is_optimizer else None,
        grad_input_device_time_ns=grad_input_ns,
        grad_weight_device_time_ns=grad_weight_ns,
    )


def _kernel_uses(ops: Iterable[Op]) -> tuple[KernelUse, ...]:
    times_ns: defaultdict[str, list[int]] = defaultdict(list)
    for op in ops:
        for kernel in op.launched or ():
            times_ns[kernel.name].append(kernel.device_time_ns)
    total_ns = sum(sum(times) for times in times_ns.values()) or 1
    uses = [
        KernelUse(
            name=name,
            kind=kernel_kind(name),
            count=len(times),
            device_time_ns=sum(times),
            share=sum(times) / total_ns,
        )
        for name, times in times_ns.items()
    ]
    return tuple(sorted(uses, key=lambda use: -use.device_time_ns))


def _span_ns(key: RowKey, inside: Iterable[_Inside]) -> int | None:
    """Summed over the executions of the row, as between them others ran."""
    spans_ns: dict[int, tuple[int, int]] = {}
    for span, ops in inside:
        execution = [id(each) for each in span.chain() if each.row == key][-1]
        for op in ops:
            for kernel in op.launched or ():
                start_ns, end_ns = spans_ns.get(execution, (kernel.start_ns, kernel.end_ns))
                spans_ns[execution] = min(start_ns, kernel.start_ns), max(end_ns, kernel.end_ns)
    return sum(end - start for start, end in spans_ns.values()) if spans_ns else None


def _gradient_times_ns(
    calls: Sequence[Call | None], inside: Iterable[_Inside]
) -> tuple[int | None, int | None]:
    """Time of the products for the gradient of the input, and of the weight.

    What a layout conversion or a reduction is for can't be told, so they are in neither. As soon
    as one product can't be told, it may be a part of either, so both are ``None``.
    """
    times: dict[Phase, int] = {}
    for span, ops in inside:
        call = None if span.position is None else calls[span.position]
        for op in ops:
            for kernel in op.launched or ():
                gradient = _gradient(op, kernel, call)
                if gradient is not None:
                    times[gradient] = times.get(gradient, 0) + kernel.device_time_ns
                elif kernel_kind(kernel.name) in _PRODUCTS:
                    return None, None
    return times.get(Phase.GRAD_INPUT), times.get(Phase.GRAD_WEIGHT)


def _gradient(op: Op, kernel: Kernel, call: Call | None) -> Phase | None:
    if op.product is None or call is None:
        return gradient_by_name(kernel.name)
    return _gradient_by_shape(op.product, call)


def _gradient_by_shape(product: tuple[int, int, int], call: Call) -> Phase | None:
    """Which gradient of a Linear a product computes; ``None`` if its shape could be either's.

    grad_x (N × in) = grad_y (N × out) W; grad_W (out × in, or transposed) contracts the N rows.
    """
    weights = [each.shape for each in call.parameters if len(each.shape) == 2]
    if len(weights) != 1 or len(call.inputs) != 1:
        return None
    ((outputs, inputs),) = weights
    positions = call.inputs[0].elements // inputs
    rows, contracted, columns = product
    is_input = product == (positions, outputs, inputs)
    is_weight = contracted == positions and sorted((rows, columns)) == sorted((outputs, inputs))
    if is_input == is_weight:
        return None
    return Phase.GRAD_INPUT if is_input else Phase.GRAD_WEIGHT
