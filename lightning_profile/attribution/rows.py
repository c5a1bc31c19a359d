"""Sums per layer, phase and step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from lightning_profile.attribution.assignment import Assignment, assign_spans
from lightning_profile.attribution.interrupted import never_executed
from lightning_profile.attribution.kernels import KernelSums
from lightning_profile.attribution.leaf_gradients import mark_missing_gradients
from lightning_profile.attribution.memory import blocks_of, follow_blocks
from lightning_profile.attribution.spans import Row, Span, with_inside
from lightning_profile.attribution.tallies import Tally, merge, tally
from lightning_profile.records import (
    BackwardGraph,
    Call,
    DeviceUse,
    Measurement,
    Op,
    OperatorSums,
    Work,
)


def attribute(
    ops: Sequence[Op],
    calls: Sequence[Call | None],
    *,
    memory_device: str,
    reported: Collection[str] | None = None,
    graphs: Sequence[BackwardGraph] = (),
) -> list[Measurement]:
    """Measurements per layer, phase and step, of each step's optimizer, and of each step's rest.

    Args:
        ops: Recorded operators, parents before children.
        calls: The window's list of calls that the operators' ``call`` fields point into.
        memory_device: Type of the device whose allocations are reported, ``cpu`` or ``cuda``.
        reported: Qualified names of the layers among which a row's own part is told from the
            rest; ``None`` for all that were called.
        graphs: Of the window's backward passes, as far as they are known.
    """
    if reported is None:
        reported = {call.layer for call in calls if call is not None}
    assignment = assign_spans(ops, calls, graphs)
    mark_missing_gradients(ops, assignment.of_ops, calls)
    follow_blocks(ops, assignment, memory_device)
    inside: defaultdict[Row, list[Span]] = defaultdict(list)
    own: defaultdict[Row, list[Span]] = defaultdict(list)
    for span in assignment.spans:
        for each in span.around:
            inside[each.row].append(span)
        own[_nearest_row(span, reported) or assignment.rest[span.row.step].row].append(span)
    sums = _Sums(ops, calls, assignment)
    return [sums.row(row, spans, own[row]) for row, spans in inside.items()]


def _nearest_row(span: Span, reported: Collection[str]) -> Row | None:
    """The row of its own that the work of ``span`` is in, if it is not the rest's."""
    for each in (span, *span.outer):
        if each.row.layer in reported or each.row.is_optimizer:
            return each.row
    return None


class _Sums:
    """What the spans did, and the rows that they add up to."""

    def __init__(
        self, ops: Sequence[Op], calls: Sequence[Call | None], assignment: Assignment
    ) -> None:
        own_times_ns, never = _own_times_ns(ops), never_executed(ops, calls)
        alone = {span: tally(ops, span.ops, own_times_ns, never) for span in assignment.spans}
        for span, sums in alone.items():
            # Python between the operators of a call is no operator's.
            alone[assignment.rest[span.row.step]].cpu_time_ns += sums.python_time_ns
        self._ops = ops
        self._alone = alone
        self._totals = with_inside(alone, merge)
        has_device = any(op.launched is not None for op in ops)
        self._kernels = KernelSums(ops, calls, assignment.spans) if has_device else None

    def row(self, row: Row, spans: Sequence[Span], own: Sequence[Span]) -> Measurement:
        """The sums over ``spans``, all that are a part of ``row``; ``own`` are no other row's."""
        executions = [each for each in spans if each.row is row]
        has_layers_inside = len(executions) < len(spans)
        outermost = [each for each in executions if not each.is_nested]
        total = merge([self._totals[each] for each in outermost])
        direct = merge([self._alone[each] for each in executions])
        work, calls = self._work(total), _calls(executions)
        return Measurement(
            layer=row.layer,
            phase=row.phase,
            step=row.step,
            is_optimizer=row.is_optimizer,
            calls=calls,
            calls_inside=_calls(spans) if has_layers_inside else calls,
            counted_flop=work.counted_flop,
            counted_elementwise_flop=work.counted_elementwise_flop,
            cpu_time_ns=work.cpu_time_ns,
            device_time_ns=work.device_time_ns,
            kernels=work.kernels,
            own=work if own == spans else self._work(merge([self._alone[each] for each in own])),
            allocated_bytes=row.allocated_bytes,
            workspace_bytes=row.workspace_bytes,
            peak_allocated_bytes=row.peak_bytes,
            reserved_bytes=row.reserved_bytes,
            cached_bytes=row.cached_bytes,
            # What layers inside allocated has theory of its own.
            blocks=(
                None if row.layer is None or has_layers_inside else blocks_of(executions, self._ops)
            ),
            # The hooks of layers inside take time, too; and the rest is no stretch of time.
            wall_time_ns=(
                None
                if has_layers_inside or (row.layer is None and not row.is_optimizer)
                else total.cpu_time_ns + total.python_time_ns
            ),
            on_device=self._on_device(row, outermost, total),
            operator_sums=self._operator_sums(total),
            direct_operators=tuple(direct.counts),
            direct_products=tuple(direct.products),
            is_repeated=row.is_repeated,
            lacks_gradients=row.lacks_gradients,
            hides_optimizer=row.hides_optimizer,
            casts=tuple(total.casts.items()),
            uncounted=tuple(total.uncounted),
        )

    def _work(self, sums: Tally) -> Work:
        sees_device = self._kernels is not None and not sums.launches_graph
        return Work(
            counted_flop=None if sums.uncounted else sums.counted_flop,
            counted_elementwise_flop=sums.counted_elementwise_flop,
            cpu_time_ns=sums.cpu_time_ns,
            device_time_ns=sums.device_time_ns if sees_device else None,
            kernels=sums.kernels if sees_device else None,
        )

    def _on_device(self, row: Row, executions: Sequence[Span], sums: Tally) -> DeviceUse | None:
        if self._kernels is None:
            return None
        if sums.launches_graph:
            return DeviceUse(launches_graph=True)
        return self._kernels.use(row, executions)

    def _operator_sums(self, sums: Tally) -> OperatorSums:
        return OperatorSums(
            counts=sums.counts,
            cpu_times_ns=sums.cpu_times_ns,
            device_times_ns=None if self._kernels is None else sums.device_times_ns,
        )


def _calls(spans: Iterable[Span]) -> tuple[int, ...]:
    return tuple([span.position for span in spans if span.position is not None])


def _own_times_ns(ops: Sequence[Op]) -> list[int]:
    """Each operator's time less its children's, so that the sum counts nothing twice."""
    times = [op.end_ns - op.start_ns for op in ops]
    for op in ops:
        if op.parent is not None:
            times[op.parent] -= op.end_ns - op.start_ns
    return times
