"""Which execution of which layer each operator belongs to.

An operator belongs to the nearest of its ancestors (itself first) that is known: the range that
marks a call of a layer, which makes it forward or recompute, or an autograd node whose sequence
number stems from such a call, which makes it backward. What an optimizer's step runs beside them
is the optimizer's. All else is the rest, so that the rows of a step add up to the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lightning_profile.attribution.optimizer import OptimizerStep, find_optimizer_steps
from lightning_profile.records import Call, Op, Phase

_SUMS = ("aten::add", "aten::add_")


class RowKey(NamedTuple):
    """What is summed: a layer's phase, the optimizer, or (no layer) the rest of a step."""

    step: int
    layer: str | None = None
    phase: Phase | None = None
    is_optimizer: bool = False


@dataclass(eq=False, slots=True)
class FollowedBlock:
    """A block that was handed out.

    Attributes:
        bytes: Its size.
        op: Position of the operator.
        around: The spans that it was handed out in.
        freed_in: The spans that it was taken back in; empty if it was not.
    """

    bytes: int
    op: int
    around: Sequence[Span]
    freed_in: Sequence[Span] = ()


@dataclass(eq=False, slots=True)
class Span:
    """One execution of a phase: a call, its backward, or what a step did for no layer.

    Attributes:
        row: The row that it is summed in.
        position: Of its call, in the window's list; ``None`` without one.
        parent: The same phase of the call that encloses this one.
        ops: Positions of its operators that belong to no span inside of it.
        cpu_time_ns: Their own time.
        allocated_bytes: Blocks allocated here or in spans inside that are alive at its end.
        workspace_bytes: Such that were freed before.
        reserved_bytes: The caching allocator's hold, when last seen.
        cached_bytes: The part of it in no block.
        blocks: What was handed out here or in spans inside.
        is_repeated: Whether an autograd node of it ran more than once.
        hides_optimizer: Whether an optimizer's work is in it, as it could not be told apart.
    """

    row: RowKey
    position: int | None = None
    parent: Span | None = None
    ops: list[int] = field(default_factory=list)
    cpu_time_ns: int = 0
    allocated_bytes: int = 0
    workspace_bytes: int = 0
    reserved_bytes: int | None = None
    cached_bytes: int | None = None
    blocks: list[FollowedBlock] = field(default_factory=list)
    is_repeated: bool = False
    hides_optimizer: bool = False

    def chain(self) -> Iterator[Span]:
        """Itself and the spans around it, from inside out."""
        span: Span | None = self
        while span is not None:
            yield span
            span = span.parent


@dataclass(frozen=True, slots=True)
class Assignment:
    """What belongs where.

    Attributes:
        spans: The span of each operator.
        rest: The rest of each step.
        optimizers: Per position of an optimizer's step, the optimizer's span and from when on
            what happens there is the optimizer's: its blocks are freed between its operators.
    """

    spans: Sequence[Span]
    rest: Mapping[int, Span]
    optimizers: Mapping[int, tuple[Span, int]]


def assign_spans(ops: Sequence[Op], calls: Sequence[Call | None]) -> Assignment:
    """The span of each operator.

    Args:
        ops: Recorded operators, parents before children.
        calls: The window's list of calls that the operators' ``call`` fields point into.
    """
    spans = _Spans(calls)
    rest = {step: Span(RowKey(step)) for step in dict.fromkeys(op.step for op in ops)}
    optimizers = _optimizers(ops, rest, find_optimizer_steps(ops))
    creators = _forward_calls(ops, calls)
    nodes_run: set[tuple[int, int | None, int]] = set()
    assigned: list[Span] = []
    for op in ops:
        span: Span | None = None
        parent = None if op.parent is None else ops[op.parent]
        call = None if op.call is None else calls[op.call]
        if op.call is not None and call is not None:
            span = spans.of(op.call, call.phase, op.step)
        elif op.forward_thread is not None:  # the engine's call of a node, or the node
            position = creators.get((op.forward_thread, op.sequence_number))
            if position is not None:
                span = spans.of(position, Phase.BACKWARD, op.step)
            if span is not None and op.is_autograd_node:
                node = (op.forward_thread, op.sequence_number, op.step)
                span.is_repeated |= node in nodes_run
                nodes_run.add(node)
        if span is None and op.parent in optimizers:
            optimizer, from_ns = optimizers[op.parent]
            span = optimizer if op.start_ns >= from_ns else None
        if span is None and op.parent is not None and not _is_sum_of_gradients(op, parent):
            span = assigned[op.parent]
        assigned.append(span or rest[op.step])
    return Assignment(assigned, rest, optimizers)


def _optimizers(
    ops: Sequence[Op], rest: Mapping[int, Span], steps: Mapping[int, OptimizerStep]
) -> dict[int, tuple[Span, int]]:
    """One span for all of a batch's optimizer steps that can be told from their closures."""
    known: dict[int, Span] = {}
    optimizers = {}
    for position, optimizer_step in steps.items():
        step = ops[position].step
        if optimizer_step.own_from_ns is None:
            rest[step].hides_optimizer = True
        else:
            span = known.setdefault(step, Span(RowKey(step, is_optimizer=True)))
            optimizers[position] = (span, optimizer_step.own_from_ns)
    return optimizers


class _Spans:
    """Makes each span once, with the spans around it."""

    def __init__(self, calls: Sequence[Call | None]) -> None:
        self._calls = calls
        self._known: dict[tuple[int, Phase, int], Span] = {}
        self._forwards = {
            (call.layer, call.step, call.index): call
            for call in calls
            if call is not None and call.phase is Phase.FORWARD
        }

    def of(self, position: int, phase: Phase, step: int) -> Span | None:
        """The execution of ``phase`` for the call at ``position``; ``None`` if it failed."""
        call = self._calls[position]
        if call is None:
            return None
        key = (position, phase, step)
        if key not in self._known:
            above = self._enclosing(call)
            self._known[key] = Span(
                RowKey(step, call.layer, phase),
                position,
                None if above is None else self.of(above, phase, step),
            )
        return self._known[key]

    def _enclosing(self, call: Call) -> int | None:
        """Position of the enclosing call; of a recomputed call, where its forward ran."""
        if call.parent is not None or call.phase is Phase.FORWARD:
            return call.parent
        forward = self._forwards.get((call.layer, call.step, call.index))
        return None if forward is None else forward.parent


def _is_sum_of_gradients(op: Op, parent: Op | None) -> bool:
    """Whether the engine adds up the gradients of several users of one tensor: no layer's work.

    What else it does around a node is the layer's: it reduces and casts gradients to what they
    are gradients of (a bias that was broadcast), and frees what the node no longer needs.
    """
    is_in_engine = (
        parent is not None and parent.forward_thread is not None and not parent.is_autograd_node
    )
    return is_in_engine and op.name in _SUMS


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
