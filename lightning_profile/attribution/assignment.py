"""Which execution of which layer each operator belongs to.

An operator belongs to the nearest of its ancestors (itself first) that is known: the range that
marks a call of a layer, which makes it forward or recompute, or an autograd node whose sequence
number stems from such a call, or from the backward of one, which makes it backward. Sums of
gradients that autograd's engine makes between its nodes have a rule of their own (gradient_sums).
What an optimizer's step runs beside them is the optimizer's. All else is the rest, so that the rows
of a step add up to the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_profile.attribution.gradient_sums import calls_of_gradient_sums, is_gradient_sum
from lightning_profile.attribution.node_makers import find_node_makers
from lightning_profile.attribution.optimizer import find_optimizer_steps
from lightning_profile.attribution.spans import Row, Span
from lightning_profile.records import BackwardGraph, Call, Op, Phase


@dataclass(frozen=True, slots=True)
class Assignment:
    """What belongs where.

    Attributes:
        of_ops: The span of each operator.
        spans: All of them, each after those around it.
        rest: The rest of each step.
        optimizers: Per position of an optimizer's step, the optimizer's span and from when on
            what happens there is the optimizer's: its blocks are freed between its operators.
    """

    of_ops: Sequence[Span]
    spans: Sequence[Span]
    rest: Mapping[int, Span]
    optimizers: Mapping[int, tuple[Span, int]]


def assign_spans(
    ops: Sequence[Op], calls: Sequence[Call | None], graphs: Sequence[BackwardGraph] = ()
) -> Assignment:
    """The span of each operator.

    Args:
        ops: Recorded operators, parents before children.
        calls: The window's list of calls that the operators' ``call`` fields point into.
        graphs: Of the window's backward passes, as far as they are known.
    """
    spans = _Spans(calls)
    rest = {step: spans.add(Row(step)) for step in dict.fromkeys([op.step for op in ops])}
    optimizers = _optimizers(ops, rest)
    nodes = find_node_makers(ops, calls)
    gradient_sums = calls_of_gradient_sums(ops, calls, graphs, nodes.calls)
    nodes_run: set[tuple[int, int | None, int]] = set()
    assigned: list[Span] = []
    for position, op in enumerate(ops):
        parent = op.parent
        span: Span | None = None
        if op.call is not None:
            span = spans.of_call(op.call, op.step)
        elif op.forward_thread is not None:  # the engine's call of a node, or the node
            node = (op.forward_thread, op.sequence_number)
            span = spans.of(nodes.calls.get(node), Phase.BACKWARD, op.step)
            if span is not None and op.is_autograd_node:
                run = (*node, op.step)
                if run in nodes_run or node in nodes.made_by_backward:
                    _mark_repeated(span)
                nodes_run.add(run)
        elif is_gradient_sum(op, ops):
            span = spans.of(gradient_sums.get(position), Phase.BACKWARD, op.step) or rest[op.step]
        if span is None and parent is not None:
            is_optimizers = parent in optimizers and op.start_ns >= optimizers[parent][1]
            span = optimizers[parent][0] if is_optimizers else assigned[parent]
        span = span or rest[op.step]
        assigned.append(span)
        span.ops.append(position)
    of_optimizers = dict.fromkeys([span for span, _ in optimizers.values()])
    return Assignment(assigned, [*spans.all, *of_optimizers], rest, optimizers)


def layers_of_nodes(
    ops: Sequence[Op], calls: Sequence[Call | None]
) -> dict[tuple[int | None, int | None], str]:
    """The layer whose forward created each autograd node, by forward thread and number.

    Args:
        ops: Recorded operators, parents before children.
        calls: The window's list of calls that the operators' ``call`` fields point into.
    """
    layers = {}
    for node, position in find_node_makers(ops, calls).calls.items():
        call = None if position is None else calls[position]
        if call is not None:
            layers[node] = call.layer
    return layers


def _mark_repeated(span: Span) -> None:
    for each in span.around:
        each.row.is_repeated = True


def _optimizers(ops: Sequence[Op], rest: Mapping[int, Span]) -> dict[int, tuple[Span, int]]:
    """One span for all of a batch's optimizer steps that can be told from their closures."""
    known: dict[int, Span] = {}
    optimizers = {}
    for position, optimizer_step in find_optimizer_steps(ops).items():
        step = ops[position].step
        if optimizer_step.own_from_ns is None:
            rest[step].row.hides_optimizer = True
            continue
        span = known.setdefault(step, Span(Row(step, is_optimizer=True)))
        optimizers[position] = (span, optimizer_step.own_from_ns)
    return optimizers


class _Spans:
    """Makes each span once, after those around it."""

    def __init__(self, calls: Sequence[Call | None]) -> None:
        self.all: list[Span] = []
        self._calls = calls
        self._known: dict[tuple[int, Phase, int], Span] = {}
        self._rows: dict[tuple[str, Phase, int], Row] = {}
        self._forwards = {
            (call.layer, call.step, call.index): call
            for call in calls
            if call is not None and call.phase is Phase.FORWARD
        }

    def add(self, row: Row, position: int | None = None, parent: Span | None = None) -> Span:
        outer = () if parent is None else (parent, *parent.outer)
        is_nested = any(each.row is row for each in outer)
        span = Span(row=row, position=position, outer=outer, is_nested=is_nested)
        self.all.append(span)
        return span

    def of_call(self, position: int, step: int) -> Span | None:
        """The execution that the call at ``position`` is; ``None`` if it failed."""
        call = self._calls[position]
        return None if call is None else self.of(position, call.phase, step)

    def of(self, position: int | None, phase: Phase, step: int) -> Span | None:
        """The execution of ``phase`` for the call at ``position``; ``None`` if it failed."""
        call = None if position is None else self._calls[position]
        if position is None or call is None:
            return None
        span = self._known.get((position, phase, step))
        if span is None:
            row = self._rows.setdefault((call.layer, phase, step), Row(step, call.layer, phase))
            above = self._enclosing(call)
            parent = None if above is None else self.of(above, phase, step)
            span = self._known[position, phase, step] = self.add(row, position, parent)
        return span

    def _enclosing(self, call: Call) -> int | None:
        """Position of the enclosing call; of a recomputed call, where its forward ran."""
        if call.parent is not None or call.phase is Phase.FORWARD:
            return call.parent
        forward = self._forwards.get((call.layer, call.step, call.index))
        return None if forward is None else forward.parent
