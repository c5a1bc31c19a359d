"""From torch.profiler's raw results to operators.

The raw results are read, not ``prof.events()``: those cost ten times as much. The event tree has
the nesting, the kernels under the runtime calls that launched them, and every allocation; the flat
kineto events have the counted FLOPs, the recorded arguments and the forward's thread. Both carry
the same correlation number per operator.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch.profiler import record_function

from lightning_profile.measurement.calls import CALL_MARK
from lightning_profile.measurement.counting import counted_flop
from lightning_profile.records import Allocation, Op

STEP_MARK = "lightning_profile.step "  # followed by the training batch's number


def mark_step(step: int) -> record_function:
    """A range that marks the training batch ``step`` in the trace."""
    return record_function(f"{STEP_MARK}{step}")


def read_ops(results: Any, *, has_device: bool) -> list[Op]:
    """Operators that began within a marked step, parents before children.

    Args:
        results: ``torch.profiler``'s ``kineto_results``.
        has_device: Whether an accelerator was recorded; if not, device times are unknown.
    """
    reader = _Reader(results, has_device=has_device)
    roots = sorted(results.experimental_event_tree(), key=lambda event: event.start_time_ns)
    reader.find_steps(roots)
    for root in _host_events(roots):
        reader.read(root, parent=None, is_counted=False)
    return reader.ops


class _Reader:
    def __init__(self, results: Any, *, has_device: bool) -> None:
        self.ops: list[Op] = []
        self._has_device = has_device
        flat = results.events()
        host = [event for event in flat if event.device_type().name == "CPU"]
        self._flat = {event.correlation_id(): event for event in host}
        # The device's picture of a marked range bears the range's name and is no work.
        host_names = {event.name() for event in host}
        self._device_work = {
            (event.name(), event.start_ns())
            for event in flat
            if event.device_type().name != "CPU" and event.name() not in host_names
        }
        self._step_starts: list[int] = []
        self._steps: list[tuple[int, int]] = []  # (end, number), beside _step_starts

    def find_steps(self, roots: Sequence[Any]) -> None:
        for event in roots:
            if event.name.startswith(STEP_MARK):
                self._step_starts.append(event.start_time_ns)
                self._steps.append((event.end_time_ns, int(event.name[len(STEP_MARK) :])))

    def read(self, event: Any, *, parent: int | None, is_counted: bool) -> None:
        """Append ``event`` and all below it, unless it began outside of every step."""
        step = self._step_at(event.start_time_ns)
        if step is None:
            return
        if event.tag.name == "Allocation":
            self.ops.append(_loose_allocation(event, step))
            return
        position = len(self.ops)
        op = self._operator(event, step, parent, is_counted)
        self.ops.append(op)
        is_counted = is_counted or (
            op.counted_flop is not None or op.counted_elementwise_flop is not None
        )
        for child in _host_events(event.children):
            if child.tag.name == "TorchOp":
                self.read(child, parent=position, is_counted=is_counted)

    def _step_at(self, time_ns: int) -> int | None:
        position = bisect.bisect_right(self._step_starts, time_ns) - 1
        if position < 0:
            return None
        end, number = self._steps[position]
        return number if time_ns <= end else None

    def _operator(self, event: Any, step: int, parent: int | None, is_counted: bool) -> Op:
        flat = self._flat[event.correlation_id]
        sequence_number = event.extra_fields.sequence_number
        counted: tuple[int | None, int | None] = (None, None)
        if not is_counted:  # an operator inside a counted one is part of its formula
            counted = counted_flop(event.name, flat.flops(), flat.shapes(), flat.concrete_inputs())
        kernels = [
            below
            for below in _device_events(event.children)
            if (below.name, below.start_time_ns) in self._device_work
        ]
        is_call = event.name.startswith(CALL_MARK)
        return Op(
            name=event.name,
            step=step,
            parent=parent,
            call=int(event.name[len(CALL_MARK) :]) if is_call else None,
            thread=flat.start_thread_id(),
            start_ns=event.start_time_ns,
            end_ns=event.end_time_ns,
            sequence_number=sequence_number if sequence_number >= 0 else None,
            forward_thread=flat.fwd_thread_id() or None,
            is_autograd_node=event.extra_fields.scope.name == "BACKWARD_FUNCTION",
            counted_flop=counted[0],
            counted_elementwise_flop=counted[1],
            kernels=len(kernels),
            device_time_ns=(
                sum(kernel.duration_time_ns for kernel in kernels) if self._has_device else None
            ),
            allocations=tuple(
                _allocation(child)
                for child in _host_events(event.children)
                if child.tag.name == "Allocation"
            ),
        )


def _host_events(events: Iterable[Any]) -> Iterator[Any]:
    """The operators and allocations among ``events``, and those below the device's events.

    The tree nests by time, and the device's picture of a range lies among the host's events: what
    the host did meanwhile hangs below it.
    """
    for event in events:
        if event.tag.name in ("TorchOp", "Allocation"):
            yield event
        else:
            yield from _host_events(event.children)


def _device_events(events: Iterable[Any]) -> Iterator[Any]:
    """Runtime calls, the work they launched, and pictures of ranges, down to the next operator."""
    for event in events:
        if event.tag.name not in ("TorchOp", "Allocation"):
            yield event
            yield from _device_events(event.children)


def _allocation(event: Any) -> Allocation:
    fields = event.extra_fields
    return Allocation(
        time_ns=event.start_time_ns,
        address=fields.ptr,
        bytes=fields.alloc_size,
        device_type=fields.device.type,
        reserved_bytes=fields.total_reserved or None,
    )


def _loose_allocation(event: Any, step: int) -> Op:
    """A block allocated or freed outside of every operator."""
    return Op(
        name=event.name,
        step=step,
        parent=None,
        call=None,
        thread=event.start_tid,
        start_ns=event.start_time_ns,
        end_ns=event.start_time_ns,
        sequence_number=None,
        forward_thread=None,
        is_autograd_node=False,
        counted_flop=None,
        counted_elementwise_flop=None,
        kernels=0,
        device_time_ns=None,
        allocations=(_allocation(event),),
    )
