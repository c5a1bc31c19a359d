"""From recorded operators to what each layer did in each step.

An operator belongs to the nearest of its ancestors (itself first) that is known: the range that
marks a call of a layer, which makes it forward, or an autograd node whose sequence number stems
from such a call, which makes it backward. All else is unattributed, a row of its own, so that the
rows of a step add up to the step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lightning_profile.records import Allocation, Call, Measurement, Op, Phase

_RowKey = tuple[int, str | None, Phase | None]


@dataclass(eq=False, slots=True)
class _Span:
    """One execution of a phase: a call, its backward, or a step's unattributed rest."""

    layer: str | None
    phase: Phase | None
    step: int
    ops: list[Op] = field(default_factory=list)
    cpu_time_ns: int = 0
    allocated_bytes: int = 0
    workspace_bytes: int = 0
    reserved_bytes: int | None = None

    @property
    def row(self) -> _RowKey:
        """The row that it is summed in."""
        return self.step, self.layer, self.phase


def attribute(
    ops: Sequence[Op], calls: Sequence[Call | None], *, memory_device: str
) -> list[Measurement]:
    """Measurements per layer, phase and step, and one unattributed row per step.

    Args:
        ops: Recorded operators, parents before children.
        calls: The calls that the operators' marks point into.
        memory_device: Type of the device whose allocations are reported, ``cpu`` or ``cuda``.
    """
    spans = _spans_of(ops, calls)
    for op, span in zip(ops, spans, strict=True):
        span.ops.append(op)
    rest = {span.step: span for span in spans if span.layer is None}
    for op, cpu_time_ns, span in zip(ops, _self_times_ns(ops), spans, strict=True):
        # A mark's own time is Python between the operators, which is no operator's.
        owner = span if op.call is None else rest[op.step]
        owner.cpu_time_ns += cpu_time_ns
    peaks = _follow_blocks(ops, spans, memory_device)

    rows: defaultdict[_RowKey, list[_Span]] = defaultdict(list)
    for span in dict.fromkeys(spans):
        rows[span.row].append(span)
    return [_summed(row, peaks.get(key, 0)) for key, row in rows.items()]


def _spans_of(ops: Sequence[Op], calls: Sequence[Call | None]) -> list[_Span]:
    """The span that each operator belongs to."""
    forward = [
        None if call is None else _Span(call.layer, Phase.FORWARD, call.step) for call in calls
    ]
    backward: dict[int, _Span] = {}  # per call: all its autograd nodes are one execution
    rest: dict[int, _Span] = {}
    call_of_node = _forward_calls(ops, calls)
    spans: list[_Span] = []
    for op in ops:
        span: _Span | None = None
        parent = None if op.parent is None else ops[op.parent]
        if op.call is not None:
            span = forward[op.call]
        elif op.forward_thread is not None:  # the engine's call of a node, or the node
            position = call_of_node.get((op.forward_thread, op.sequence_number))
            call = None if position is None else calls[position]
            if position is not None and call is not None:
                span = backward.setdefault(position, _Span(call.layer, Phase.BACKWARD, op.step))
        if span is None and op.parent is not None and not _is_engine(parent):
            span = spans[op.parent]
        if span is None:
            span = rest.setdefault(op.step, _Span(None, None, op.step))
        spans.append(span)
    return spans


def _is_engine(op: Op | None) -> bool:
    """Whether ``op`` is the engine's call of a node.

    It frees what the node no longer needs, and that is the layer's. Operators beside the node in
    it add up gradients from several users of one tensor, and those are no layer's.
    """
    return op is not None and op.forward_thread is not None and not op.is_autograd_node


def _forward_calls(
    ops: Sequence[Op], calls: Sequence[Call | None]
) -> dict[tuple[int | None, int | None], int | None]:
    """The call that created the autograd node of each (thread, sequence number), if any.

    Operators that create no node (a frozen layer's) show the number of the next node to come, so
    the last operator with a number is the one that created it.
    """
    creators: dict[tuple[int | None, int | None], int | None] = {}
    inside: list[int | None] = []  # per operator, the innermost call that it is part of
    for op in ops:
        position = None if op.parent is None else inside[op.parent]
        if op.call is not None and calls[op.call] is not None:
            position = op.call
        inside.append(position)
        if op.sequence_number is not None and op.forward_thread is None:
            creators[op.thread, op.sequence_number] = position
    return creators


def _self_times_ns(ops: Sequence[Op]) -> list[int]:
    """Each operator's time less its children's, so that the sum counts nothing twice."""
    times = [op.end_ns - op.start_ns for op in ops]
    for op in ops:
        if op.parent is not None:
            times[op.parent] -= op.end_ns - op.start_ns
    return times


def _follow_blocks(
    ops: Sequence[Op], spans: Sequence[_Span], memory_device: str
) -> dict[_RowKey, int]:
    """Decide for each block whether it outlived the span that allocated it.

    Returns:
        Per row the most bytes of its own blocks that were alive at one moment.
    """
    owner_of: dict[int, tuple[_Span, int]] = {}
    live: defaultdict[_RowKey, int] = defaultdict(int)
    peaks: defaultdict[_RowKey, int] = defaultdict(int)
    for allocation, span in _in_time_order(ops, spans):
        if allocation.device_type != memory_device:
            continue
        span.reserved_bytes = allocation.reserved_bytes
        if allocation.bytes > 0:
            owner_of[allocation.address] = (span, allocation.bytes)
            span.allocated_bytes += allocation.bytes
            live[span.row] += allocation.bytes
            peaks[span.row] = max(peaks[span.row], live[span.row])
            continue
        owner, size = owner_of.pop(allocation.address, (None, 0))
        if owner is None:  # from before the window
            continue
        live[owner.row] -= size
        if owner is span:
            span.allocated_bytes -= size
            span.workspace_bytes += size
    return peaks


def _in_time_order(ops: Sequence[Op], spans: Sequence[_Span]) -> Iterator[tuple[Allocation, _Span]]:
    events = [
        (allocation, span)
        for op, span in zip(ops, spans, strict=True)
        for allocation in op.allocations
    ]
    # Stable: a block that is freed and handed out again within a tick keeps its order.
    return iter(sorted(events, key=lambda event: event[0].time_ns))


def _summed(spans: Sequence[_Span], peak_allocated_bytes: int) -> Measurement:
    first, last = spans[0], spans[-1]
    ops = [op for span in spans for op in span.ops]
    has_device = any(op.device_time_ns is not None for op in ops)
    return Measurement(
        layer=first.layer,
        phase=first.phase,
        step=first.step,
        calls=len(spans) if first.layer is not None else 0,
        counted_flop=(
            None
            if any(op.is_uncounted for op in ops)
            else _known_sum(op.counted_flop for op in ops)
        ),
        counted_elementwise_flop=_known_sum(op.counted_elementwise_flop for op in ops),
        cpu_time_ns=sum(span.cpu_time_ns for span in spans),
        device_time_ns=_known_sum(op.device_time_ns for op in ops),
        kernels=sum(op.kernels for op in ops) if has_device else None,
        allocated_bytes=sum(span.allocated_bytes for span in spans),
        workspace_bytes=sum(span.workspace_bytes for span in spans),
        peak_allocated_bytes=peak_allocated_bytes,
        reserved_bytes=last.reserved_bytes,
    )


def _known_sum(values: Iterator[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
