"""Which operators are the optimizer's own.

torch marks an optimizer's step by a range, and whatever runs inside of it for no layer is the
optimizer's, except for the closure that it may be given: Lightning's does the forward and the
backward. The closure ends where the backward does, with some bookkeeping after it. That is done
with gradients enabled, so that torch numbers its operators, and the update is done without.

Where this order is not found (an optimizer that calls its closure several times, one that updates
with gradients enabled), the optimizer's work can't be told from the closure's.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, islice
from typing import NamedTuple

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


# What an operator directly in the range shows, itself or inside of it; the greatest one counts.
_PLAIN, _NUMBERED = 0, 1
_CLOSURE = 2  # a layer's call, or setting gradients to zero
_BACKWARD = 3


class _Item(NamedTuple):
    """What ran directly in the range; or a part of the backward, wherever it ran."""

    start_ns: int
    end_ns: int
    kind: int


def find_optimizer_steps(ops: Sequence[Op]) -> Mapping[int, OptimizerStep]:
    """Ranges of optimizers' steps by their position among ``ops``."""
    steps = [position for position, op in enumerate(ops) if op.name.startswith(_STEP)]
    if not steps:
        return {}
    kinds = {name: _kind_by_name(name) for name in {op.name for op in ops}}
    backward = sorted(
        [_Item(op.start_ns, op.end_ns, _BACKWARD) for op in ops if kinds[op.name] == _BACKWARD]
    )
    return {step: OptimizerStep(_own_from_ns(ops, step, kinds, backward)) for step in steps}


def _kind_by_name(name: str) -> int:
    if name.startswith(_ENGINE):
        return _BACKWARD
    return _CLOSURE if name.startswith(_ZERO_GRAD) else _PLAIN


def _own_from_ns(
    ops: Sequence[Op], step: int, kinds: Mapping[str, int], backward: Sequence[_Item]
) -> int | None:
    start_ns, end_ns = ops[step].start_ns, ops[step].end_ns
    items = _directly_in(ops, step, kinds)
    first = bisect_left(backward, start_ns, key=_start_ns)
    items += backward[first : bisect_right(backward, end_ns, key=_start_ns)]
    items.sort()
    closure_ends_ns = [item.end_ns for item in items if item.kind >= _CLOSURE]
    if not closure_ends_ns:
        return start_ns
    if _has_several_evaluations(items):
        return None
    closure_end_ns = max(closure_ends_ns)
    after = [item for item in items if item.start_ns >= closure_end_ns]
    own = list(dropwhile(lambda item: item.kind == _NUMBERED, after))
    if not own or any(item.kind != _PLAIN for item in own):
        return None
    return own[0].start_ns


def _start_ns(item: _Item) -> int:
    return item.start_ns


def _has_several_evaluations(items: Sequence[_Item]) -> bool:
    """Whether a forward and a backward came after a backward and work of neither.

    A closure with two backwards (a penalty on gradients) has numbered operators between them.
    """
    stage = 0
    for item in items:
        is_forward = item.kind in (_NUMBERED, _CLOSURE)
        if item.kind == _BACKWARD:
            if stage == 3:
                return True
            stage = 1
        elif (stage == 1 and item.kind == _PLAIN) or (stage == 2 and is_forward):
            stage += 1
    return False


def _directly_in(ops: Sequence[Op], step: int, kinds_by_name: Mapping[str, int]) -> list[_Item]:
    """What ran directly in the range ``step``."""
    direct: list[Op] = []
    kinds: list[int] = []  # beside it, of the operators inside too
    for op in islice(ops, step + 1, None):
        if op.parent is None or op.parent < step:  # all inside of the range come right after it
            break
        kind = kinds_by_name[op.name]
        if kind == _PLAIN and op.call is not None:
            kind = _CLOSURE
        elif kind == _PLAIN and op.sequence_number is not None:
            kind = _NUMBERED
        if op.parent == step:
            direct.append(op)
            kinds.append(kind)
        elif kind > kinds[-1]:
            kinds[-1] = kind
    return [_Item(op.start_ns, op.end_ns, kind) for op, kind in zip(direct, kinds, strict=True)]
