"""Which operators are the optimizer's own.

torch marks an optimizer's step by a range, and whatever runs inside of it for no layer is the
optimizer's, except for the closure that it may be given: Lightning's does the forward and the
backward. The closure ends where the backward does, with some bookkeeping after it. That is done
with gradients enabled, so that torch numbers its operators, and the update is done without.

Where this order is not found (an optimizer that calls its closure several times, one that updates
with gradients enabled), the optimizer's work can't be told from the closure's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from lightning_profile.records import Op

_STEP = "Optimizer.step#"  # followed by the class and its method
_ZERO_GRAD = "Optimizer.zero_grad#"
_ENGINE = "autograd::engine::evaluate_function"


@dataclass(frozen=True, slots=True)
class OptimizerStep:
    """The range of an optimizer's step.

    Attributes:
        own_from_ns: When its own work began, the closure's being over; ``None`` if that can't be
            told.
    """

    own_from_ns: int | None


class _Kind(IntEnum):
    """What an operator directly in the range shows, itself or inside of it; the last one wins."""

    PLAIN = 0
    NUMBERED = 1
    CLOSURE = 2  # a layer's call, or setting gradients to zero
    BACKWARD = 3


@dataclass(slots=True)
class _Item:
    start_ns: int
    end_ns: int
    kind: _Kind


def find_optimizer_steps(ops: Sequence[Op]) -> Mapping[int, OptimizerStep]:
    """Ranges of optimizers' steps by their position among ``ops``."""
    steps = [position for position, op in enumerate(ops) if op.name.startswith(_STEP)]
    backward = [op for op in ops if op.name.startswith(_ENGINE)] if steps else []
    return {step: OptimizerStep(_own_from_ns(ops, step, backward)) for step in steps}


def _own_from_ns(ops: Sequence[Op], step: int, backward: Sequence[Op]) -> int | None:
    items = _items(ops, step, backward)
    closure_ends = [item.end_ns for item in items if item.kind >= _Kind.CLOSURE]
    if not closure_ends:
        return ops[step].start_ns
    if _has_several_evaluations(items):
        return None
    after = [item for item in items if item.start_ns >= max(closure_ends)]
    while after and after[0].kind is _Kind.NUMBERED:
        del after[0]
    if not after or any(item.kind is not _Kind.PLAIN for item in after):
        return None
    return after[0].start_ns


def _has_several_evaluations(items: Sequence[_Item]) -> bool:
    """Whether a forward and a backward came after a backward and work of neither.

    A closure with two backwards (a penalty on gradients) has numbered operators between them.
    """
    stage = 0
    for item in items:
        is_forward = item.kind in (_Kind.NUMBERED, _Kind.CLOSURE)
        if item.kind is _Kind.BACKWARD:
            if stage == 3:
                return True
            stage = 1
        elif (stage == 1 and item.kind is _Kind.PLAIN) or (stage == 2 and is_forward):
            stage += 1
    return False


def _items(ops: Sequence[Op], step: int, backward: Sequence[Op]) -> list[_Item]:
    """What ran directly in the range ``step``, and the backward, which may be on other threads."""
    start_ns, end_ns = ops[step].start_ns, ops[step].end_ns
    items = [
        _Item(op.start_ns, op.end_ns, _Kind.BACKWARD)
        for op in backward
        if start_ns <= op.start_ns <= end_ns
    ]
    inside: dict[int, _Item] = {}  # the outermost operator's, of each operator in the range
    for position in range(step + 1, len(ops)):
        op = ops[position]
        if op.parent == step:
            inside[position] = _Item(op.start_ns, op.end_ns, _kind(op))
            items.append(inside[position])
        elif op.parent in inside:
            inside[position] = inside[op.parent]
            inside[position].kind = max(inside[position].kind, _kind(op))
        else:  # all inside of the range come right after it
            break
    return sorted(items, key=lambda item: item.start_ns)


def _kind(op: Op) -> _Kind:
    if op.name.startswith(_ENGINE):
        return _Kind.BACKWARD
    if op.call is not None or op.name.startswith(_ZERO_GRAD):
        return _Kind.CLOSURE
    return _Kind.PLAIN if op.sequence_number is None else _Kind.NUMBERED
