"""Sums per layer, phase and step."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from lightning_profile.attribution.kernels import KernelSums
from lightning_profile.attribution.memory import blocks_of, follow_blocks
from lightning_profile.attribution.spans import RowKey, Span, assign_spans
from lightning_profile.records import Call, Measurement, Op, OperatorUse, Work


def attribute(
    ops: Sequence[Op],
    calls: Sequence[Call | None],
    *,
    memory_device: str,
    reported: Collection[str] | None = None,
) -> list[Measurement]:
    """Measurements per layer, phase and step, of each step's optimizer, and of each step's rest.

    Args:
        ops: Recorded operators, parents before children.
        calls: The window's list of calls that the operators' ``call`` fields point into.
        memory_device: Type of the device whose allocations are reported, ``cpu`` or ``cuda``.
        reported: Qualified names of the layers among which a row's own part is told from the
            rest; ``None`` for all that were called.
    """
    if reported is None:
        reported = {call.layer for call in calls if call is not None}
    assignment = assign_spans(ops, calls)
    spans, rest = assignment.spans, assignment.rest
    own_times_ns = _own_times_ns(ops)
    for position, (op, span) in enumerate(zip(ops, spans, strict=True)):
        # A mark's own time is Python between the operators, which is no operator's.
        owner = rest[op.step] if op.call is not None else span
        owner.cpu_time_ns += own_times_ns[position]
        span.ops.append(position)
    peaks = follow_blocks(ops, assignment, memory_device)

    inside: defaultdict[RowKey, list[Span]] = defaultdict(list)
    own: defaultdict[RowKey, list[Span]] = defaultdict(list)
    for span in dict.fromkeys((*rest.values(), *spans)):
        rows = dict.fromkeys(each.row for each in span.chain())
        for row in rows:
            inside[row].append(span)
        nearest = next(
            (row for row in rows if row.layer in reported or row.is_optimizer),
            rest[span.row.step].row,
        )
        own[nearest].append(span)
    sums = _Sums(ops, calls, spans, own_times_ns)
    return [sums.row(key, members, own[key], peaks.get(key, 0)) for key, members in inside.items()]


class _Sums:
    """Adds up what the operators of spans did."""

    def __init__(
        self,
        ops: Sequence[Op],
        calls: Sequence[Call | None],
        spans: Sequence[Span],
        own_times_ns: Sequence[int],
    ) -> None:
        self._ops = ops
        self._own_times_ns = own_times_ns
        self._never_executed = _never_executed(ops, calls)
        self._device_times_ns = [op.device_time_ns for op in ops]
        self._has_device = any(op.launched is not None for op in ops)
        self._kernel_counts = [op.kernels for op in ops]
        self._has_graph = any(op.launches_graph for op in ops)
        self._kernels = KernelSums(ops, calls, spans)
        self._entries = _entries(ops, spans)

    def row(
        self, key: RowKey, spans: Sequence[Span], own: Sequence[Span], peak_allocated_bytes: int
    ) -> Measurement:
        inside = dict.fromkeys([each for span in spans for each in _up_to(key, span)])
        executions = [each for each in inside if each.row == key]
        work = self._work(spans)
        positions = _positions(spans)
        ran = [self._ops[position] for position in positions]
        direct = (
            [self._ops[each] for each in _positions(executions)] if spans != executions else ran
        )
        direct = [op for op in direct if op.call is None]
        casts = [op.cast for op in ran if op.cast is not None]
        return Measurement(
            layer=key.layer,
            phase=key.phase,
            step=key.step,
            is_optimizer=key.is_optimizer,
            calls=_calls(executions),
            calls_inside=_calls(inside),
            counted_flop=work.counted_flop,
            counted_elementwise_flop=work.counted_elementwise_flop,
            cpu_time_ns=work.cpu_time_ns,
            device_time_ns=work.device_time_ns,
            kernels=work.kernels,
            own=work if own == spans else self._work(own),
            allocated_bytes=sum(each.allocated_bytes for each in executions),
            workspace_bytes=sum(each.workspace_bytes for each in executions),
            peak_allocated_bytes=peak_allocated_bytes,
            reserved_bytes=executions[-1].reserved_bytes,
            cached_bytes=executions[-1].cached_bytes,
            # What layers inside allocated has theory of its own.
            blocks=(
                blocks_of(executions, self._ops)
                if key.layer is not None and len(inside) == len(executions)
                else None
            ),
            wall_time_ns=self._wall_time_ns(key, spans),
            on_device=self._kernels.use(key, spans) if self._has_device else None,
            operators=self._operators(positions),
            direct_operators=_names(direct),
            direct_products=_names([op for op in direct if op.counted_flop or op.is_uncounted]),
            is_repeated=any(span.is_repeated for span in spans),
            hides_optimizer=any(span.hides_optimizer for span in executions),
            casts=tuple(Counter(casts).items()) if casts else (),
            uncounted=_names([op for op in ran if op.is_uncounted]),
        )

    def _work(self, spans: Sequence[Span]) -> Work:
        positions = _positions(spans)
        ops = [self._ops[position] for position in positions]
        executed = ops
        if not self._never_executed.isdisjoint(positions):
            executed = [self._ops[each] for each in positions if each not in self._never_executed]
        sees_device = self._has_device and not (
            self._has_graph and any(op.launches_graph for op in ops)
        )
        return Work(
            counted_flop=(
                None
                if any(op.is_uncounted for op in executed)
                else sum(op.counted_flop or 0 for op in executed)
            ),
            counted_elementwise_flop=_known_sum(op.counted_elementwise_flop for op in executed),
            cpu_time_ns=sum(span.cpu_time_ns for span in spans),
            device_time_ns=(
                sum(self._device_times_ns[position] or 0 for position in positions)
                if sees_device
                else None
            ),
            kernels=sum(map(self._kernel_counts.__getitem__, positions)) if sees_device else None,
        )

    def _wall_time_ns(self, key: RowKey, spans: Sequence[Span]) -> int | None:
        if key.layer is None and not key.is_optimizer:
            return None
        inside = set(spans)
        return sum(
            time_ns
            for span in spans
            for around, time_ns in self._entries[span]
            if around not in inside
        )

    def _operators(self, positions: Sequence[int]) -> tuple[OperatorUse, ...]:
        by_name: defaultdict[str, list[int]] = defaultdict(list)
        for position in positions:
            op = self._ops[position]
            if op.call is None:
                by_name[op.name].append(position)
        uses = [
            OperatorUse(
                name=name,
                count=len(positions),
                cpu_time_ns=sum(map(self._own_times_ns.__getitem__, positions)),
                device_time_ns=(
                    _known_sum(map(self._device_times_ns.__getitem__, positions))
                    if self._has_device
                    else None
                ),
            )
            for name, positions in by_name.items()
        ]
        return tuple(sorted(uses, key=lambda use: (-(use.device_time_ns or 0), -use.cpu_time_ns)))


def _up_to(key: RowKey, span: Span) -> list[Span]:
    """``span`` and the spans around it, as far as they are part of the row ``key``."""
    chain = list(span.chain())
    outermost = max(number for number, each in enumerate(chain) if each.row == key)
    return chain[: outermost + 1]


def _calls(spans: Iterable[Span]) -> tuple[int, ...]:
    return tuple([span.position for span in spans if span.position is not None])


def _names(ops: Iterable[Op]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([op.name for op in ops]))


def _positions(spans: Sequence[Span]) -> list[int]:
    return [position for span in spans for position in span.ops]


def _entries(
    ops: Sequence[Op], spans: Sequence[Span]
) -> Mapping[Span, Sequence[tuple[Span | None, int]]]:
    """Per span, the elapsed times of its outermost operators and the span around each of them."""
    entries: defaultdict[Span, list[tuple[Span | None, int]]] = defaultdict(list)
    for op, span in zip(ops, spans, strict=True):
        around = None if op.parent is None else spans[op.parent]
        if around is not span:
            entries[span].append((around, op.end_ns - op.start_ns))
    return entries


def _own_times_ns(ops: Sequence[Op]) -> list[int]:
    """Each operator's time less its children's, so that the sum counts nothing twice."""
    times = [op.end_ns - op.start_ns for op in ops]
    for op in ops:
        if op.parent is not None:
            times[op.parent] -= op.end_ns - op.start_ns
    return times


def _never_executed(ops: Sequence[Op], calls: Sequence[Call | None]) -> set[int]:
    """Operators that were entered and left without computing.

    Checkpointing ends a recomputation by an exception once every tensor that the backward needs
    has been saved again. An operator saves its inputs before it computes, so the last one that
    was entered has done nothing if it has not even allocated its output.
    """
    interrupted = {
        position
        for position, op in enumerate(ops)
        if op.call is not None and (call := calls[op.call]) is not None and not call.is_complete
    }
    last_inside: dict[int, int] = {}
    inside: list[int | None] = []
    for position, op in enumerate(ops):
        mark = position if position in interrupted else None
        if mark is None and op.parent is not None:
            mark = inside[op.parent]
        inside.append(mark)
        if mark is not None and mark != position:
            last_inside[mark] = position
    never: set[int] = set()
    for mark, last in last_inside.items():
        chain = []
        each: int | None = last
        while each is not None and each != mark:
            chain.append(each)
            each = ops[each].parent
        if not any(block.bytes > 0 for entered in chain for block in ops[entered].allocations):
            never.update(chain)
    return never


def _known_sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
