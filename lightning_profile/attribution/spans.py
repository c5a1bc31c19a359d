"""Rows that are summed, and the executions of layers that they are the sums of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from lightning_profile.records import Phase

_Sums = TypeVar("_Sums")


@dataclass(eq=False, slots=True)
class Row:
    """What is summed: a layer's phase, the optimizer, or (no layer) the rest of a step.

    Attributes:
        step: The training batch.
        layer: The layer's qualified name.
        phase: Forward, recompute or backward.
        is_optimizer: Whether it is the optimizer's.
        is_repeated: Whether an autograd node of it ran more than once, or was differentiated.
        lacks_gradients: Whether a pass of the backward computed gradients for less than all.
        hides_optimizer: Whether an optimizer's work is in it, as it could not be told apart.
        allocated_bytes: Blocks of its executions that outlived them.
        workspace_bytes: Blocks that were freed before.
        live_bytes: Both, as far as they are alive while blocks are followed.
        peak_bytes: The most that those were.
        reserved_bytes: The caching allocator's hold, when last seen.
        cached_bytes: The part of it in no block.
    """

    step: int
    layer: str | None = None
    phase: Phase | None = None
    is_optimizer: bool = False
    is_repeated: bool = False
    lacks_gradients: bool = False
    hides_optimizer: bool = False
    allocated_bytes: int = 0
    workspace_bytes: int = 0
    live_bytes: int = 0
    peak_bytes: int = 0
    reserved_bytes: int | None = None
    cached_bytes: int | None = None


@dataclass(slots=True)
class FollowedBlock:
    """A block that was handed out.

    Attributes:
        bytes: Its size.
        op: Position of the operator.
        is_kept: Whether it outlived the execution that it was handed out in.
    """

    bytes: int
    op: int
    is_kept: bool = True


@dataclass(eq=False, slots=True)
class Span:
    """One execution of a phase: a call, its backward, or what a step did for no layer.

    Attributes:
        row: The row that it is summed in.
        position: Of its call, in the window's list; ``None`` without one.
        outer: The same phase of the calls that enclose this one, from inside out.
        is_nested: Whether one of those is of the same row: a layer that calls itself.
        ops: Positions of its operators that belong to no span inside of it.
        blocks: What they were handed out.
    """

    row: Row
    position: int | None = None
    outer: tuple[Span, ...] = ()
    is_nested: bool = False
    ops: list[int] = field(default_factory=list)
    blocks: list[FollowedBlock] = field(default_factory=list)
    _outermost: tuple[Span, ...] = field(init=False)  # of ``outer``, one for each row

    def __post_init__(self) -> None:
        self._outermost = tuple([each for each in self.outer if not each.is_nested])

    @property
    def around(self) -> Sequence[Span]:
        """For each row that it is a part of, the execution that it is inside of, or is."""
        # Not kept: a span that refers to itself would wait for the collector of cycles.
        return self._outermost if self.is_nested else (self, *self._outermost)


def with_inside(
    alone: Mapping[Span, _Sums], merge: Callable[[Sequence[_Sums]], _Sums]
) -> Mapping[Span, _Sums]:
    """Sums per execution, each merged once with those of the executions directly inside of it.

    Args:
        alone: Sums over an execution without those inside, each after those around it.
        merge: Adds up several, and leaves them as they are.
    """
    directly_inside: defaultdict[Span, list[Span]] = defaultdict(list)
    for span in alone:
        if span.outer:
            directly_inside[span.outer[0]].append(span)
    complete: dict[Span, _Sums] = {}
    for span in reversed(list(alone)):
        inside = [complete[each] for each in directly_inside[span]]
        complete[span] = merge([alone[span], *inside])
    return complete
