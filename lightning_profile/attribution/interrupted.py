"""Operators that were entered and did nothing."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_profile.records import Call, Op


def never_executed(ops: Sequence[Op], calls: Sequence[Call | None]) -> set[int]:
    """Operators that were entered and left without computing.

    Checkpointing ends a recomputation by an exception once every tensor that the backward needs
    has been saved again. An operator saves its inputs before it computes, so the last one that
    was entered has done nothing if it has not even allocated its output.
    """
    cut_short = {
        number for number, call in enumerate(calls) if call is not None and not call.is_complete
    }
    if not cut_short:
        return set()
    interrupted = {position for position, op in enumerate(ops) if op.call in cut_short}
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
