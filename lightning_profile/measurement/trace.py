"""From torch.profiler's raw results to operators.

The raw results are read, not ``prof.events()``: those cost ten times as much. The event tree has
the nesting, the kernels under the runtime calls that launched them, and every allocation; the flat
kineto events have the counted FLOPs, the recorded arguments and the forward's thread. Both carry
the same correlation number per operator.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch._C._profiler import RecordScope, _ExtraFields_Allocation, _ExtraFields_TorchOp

from lightning_profile.measurement.arguments import NO_ARGUMENTS, WithLists
from lightning_profile.measurement.casts import cast_of
from lightning_profile.measurement.counting import counted_flop
from lightning_profile.measurement.device_work import (
    NOT_RECORDED,
    DeviceWork,
    Launched,
    split_by_device,
)
from lightning_profile.measurement.marks import (
    STEP_BEGINS,
    STEP_MARK,
    MarkedStep,
    marked_steps,
)
from lightning_profile.measurement.operator_names import name_says
from lightning_profile.measurement.redispatch import runs_as_another
from lightning_profile.records import Allocation, Op

# Events are told apart by the class of their fields, and scopes by their numbers: to compare the
# members of torch's enumerations takes a microsecond each, and that for every event.
_OPERATOR, _ALLOCATION = _ExtraFields_TorchOp, _ExtraFields_Allocation
_AUTOGRAD_NODE = RecordScope.BACKWARD_FUNCTION.value
_RUNTIME_CALLS = "cu"  # CUDA's runtime and driver: cudaLaunchKernel, cuLaunchKernelEx
_LAUNCH = "launch outside of operators"
_MEMORY = "[memory]"  # what torch.profiler calls each allocation


def read_ops(results: Any, *, has_device: bool) -> list[Op]:
    """Operators that began within a marked step, parents before children.

    Args:
        results: ``torch.profiler``'s ``kineto_results``.
        has_device: Whether an accelerator was recorded; if not, device times are unknown.
    """
    reader = _Reader(results.events(), has_device=has_device)
    roots = results.experimental_event_tree()
    reader.read(sorted(roots, key=lambda event: event.start_time_ns))
    return reader.ops


class _Reader:
    """Walks the tree once; each attribute of its events is a call into C++, so it is read once."""

    def __init__(self, flat_events: Sequence[Any], *, has_device: bool) -> None:
        self.ops: list[Op] = []
        host, device = split_by_device(flat_events) if has_device else (flat_events, ())
        # Runtime calls have numbers of their own, so the number alone is ambiguous.
        self._flat = {(event.name(), event.correlation_id()): event for event in host}
        names = {name for name, _ in self._flat}
        device_work = DeviceWork(device, host_names=names)
        self._device_work = None if device_work.is_empty else device_work
        self._steps = marked_steps(self._flat, names)
        self._step_starts = [step.start_ns for step in self._steps]
        self._step = self._steps[0]  # that the last operator was in

    def read(self, events: Iterable[Any]) -> None:
        """Append the roots ``events`` and all below them that began within a step."""
        below = _sort(events)
        for event, fields in below.operators:
            self._read_operator(event, fields, parent=None, is_counted=False)
        for allocation in below.allocations:  # outside of every operator
            step = self._step_at(allocation.time_ns)
            if step is not None:
                self.ops.append(_loose_allocation(allocation, step.number))
        self._read_loose_launches(below.device_events)

    def _read_loose_launches(self, device_events: Sequence[Any]) -> None:
        """Kernels that a library launched by itself, outside of every operator."""
        if self._device_work is None:
            return
        for call in device_events:
            # What is below no call is the picture of a range, maybe one that never ended.
            if not call.name.startswith(_RUNTIME_CALLS):
                continue
            step = self._step_at(call.start_time_ns)
            launched = self._device_work.launched([call, *call.children])
            if step is not None and (launched.kernels or launched.has_graph):
                self.ops.append(_loose_launch(call, step.number, launched))

    def _read_operator(
        self, event: Any, fields: Any, *, parent: int | None, is_counted: bool
    ) -> None:
        start_ns, children, name = event.start_time_ns, event.children, event.name
        # By its own time: below a picture of a step there can be operators of the next one.
        step = self._step
        if not step.start_ns <= start_ns < step.end_ns:  # at its end the next may begin
            found = self._step_at(start_ns)
            if found is None:
                # A range of the user's may be around a step, or a device's picture below an
                # operator of the warm-up have what the host did in the step below it.
                self.read(children)
                return
            step = self._step = found
        says = name_says(name)
        if says.is_step_mark:
            if name.endswith(STEP_BEGINS):
                step.thread, step.position = event.start_tid, len(self.ops)
                self.ops.append(_whole_step(step))
            return
        if parent is None and event.start_tid == step.thread:
            parent = step.position
        # Missing for work that others report and that ends after the window (a reduction of
        # gradients between processes): such an operator has times, but no arguments.
        flat = self._flat.get((name, event.correlation_id), NO_ARGUMENTS)
        operators, allocations, device_events = _sort(children) if children else _NOTHING
        flop: int | None = None
        elementwise_flop: int | None = None
        is_unknown = False
        if not is_counted:  # an operator inside a counted one is part of its formula
            operator = flat if not says.takes_lists else WithLists(flat, fields.inputs)
            flop, elementwise_flop = counted_flop(name, operator)
            is_counted = flop is not None or elementwise_flop is not None
            is_unknown = not is_counted and (
                says.lacks_formula if operators else says.lacks_formula_as_leaf
            )
            has_count = is_counted or is_unknown
            if has_count and runs_as_another(name, [child.name for child, _ in operators]):
                flop, elementwise_flop, is_counted, is_unknown = None, None, False, False
        sequence_number = fields.sequence_number
        is_numbered = sequence_number >= 0
        device_work = self._device_work
        launched = device_work.launched(device_events) if device_work else NOT_RECORDED
        position = len(self.ops)
        self.ops.append(
            Op(
                name=name,
                step=step.number,
                parent=parent,
                call=says.call,
                thread=flat.start_thread_id() if is_numbered else None,
                start_ns=start_ns,
                end_ns=event.end_time_ns,
                sequence_number=sequence_number if is_numbered else None,
                forward_thread=(flat.fwd_thread_id() or None) if is_numbered else None,
                is_autograd_node=is_numbered and fields.scope.value == _AUTOGRAD_NODE,
                counted_flop=flop,
                counted_elementwise_flop=elementwise_flop,
                is_uncounted=is_unknown,
                cast=cast_of(flat) if says.is_copy else None,
                launched=launched.kernels,
                launches_graph=launched.has_graph,
                product=_product(flat.shapes()) if says.is_product else None,
                allocations=tuple(allocations),
            )
        )
        for child, child_fields in operators:
            self._read_operator(child, child_fields, parent=position, is_counted=is_counted)

    def _step_at(self, time_ns: int) -> MarkedStep | None:
        position = bisect.bisect_right(self._step_starts, time_ns) - 1
        if position < 0 or time_ns > self._steps[position].end_ns:
            return None
        return self._steps[position]


class _Below(NamedTuple):
    """What lies directly below an operator, by kind; operators with their fields."""

    operators: list[tuple[Any, Any]]
    allocations: list[Allocation]
    device_events: list[Any]  # runtime calls, what they launched, pictures of ranges


_NOTHING = _Below([], [], [])


def _sort(events: Iterable[Any]) -> _Below:
    """``events`` by kind.

    The tree nests by time, and the device's picture of a range lies among the host's events: what
    the host did meanwhile hangs below it. So everything that is no operator is looked through.
    """
    below = _Below([], [], [])
    _sort_into(*below, events)
    return below


def _sort_into(
    operators: list[tuple[Any, Any]],
    allocations: list[Allocation],
    device_events: list[Any],
    events: Iterable[Any],
) -> None:
    for event in events:
        fields = event.extra_fields
        kind = type(fields)
        if kind is _OPERATOR:
            operators.append((event, fields))
        elif kind is _ALLOCATION:
            allocations.append(_allocation(event, fields))
        else:
            device_events.append(event)
            children = event.children
            if children:
                _sort_into(operators, allocations, device_events, children)


def _product(shapes: Sequence[Sequence[int]]) -> tuple[int, int, int] | None:
    """Rows, contracted and columns of a product of two matrices, if they were recorded."""
    matrices = [shape for shape in shapes if len(shape) == 2]
    if len(matrices) < 2:
        return None
    (rows, contracted), (_, columns) = matrices[:2]
    return rows, contracted, columns


def _allocation(event: Any, fields: Any) -> Allocation:
    reserved_bytes = fields.total_reserved or None
    return Allocation(
        time_ns=event.start_time_ns,
        address=fields.ptr,
        bytes=fields.alloc_size,
        device_type=fields.device.type,
        reserved_bytes=reserved_bytes,
        cached_bytes=None if reserved_bytes is None else reserved_bytes - fields.total_allocated,
    )


def _loose_allocation(allocation: Allocation, step: int) -> Op:
    """A block allocated or freed outside of every operator."""
    time_ns = allocation.time_ns
    return _plain(_MEMORY, step, time_ns, time_ns, allocations=(allocation,))


def _loose_launch(call: Any, step: int, launched: Launched) -> Op:
    time_ns = call.start_time_ns
    plain = _plain(_LAUNCH, step, time_ns, time_ns)
    return replace(plain, launched=launched.kernels, launches_graph=launched.has_graph)


def _whole_step(step: MarkedStep) -> Op:
    """What encloses the operators of the loop's thread, from the first mark to the last."""
    return _plain(f"{STEP_MARK}{step.number}", step.number, step.start_ns, step.end_ns)


def _plain(
    name: str, step: int, start_ns: int, end_ns: int, allocations: tuple[Allocation, ...] = ()
) -> Op:
    return Op(
        name=name,
        step=step,
        parent=None,
        call=None,
        thread=None,
        start_ns=start_ns,
        end_ns=end_ns,
        sequence_number=None,
        forward_thread=None,
        is_autograd_node=False,
        counted_flop=None,
        counted_elementwise_flop=None,
        is_uncounted=False,
        launched=None,
        allocations=allocations,
    )
