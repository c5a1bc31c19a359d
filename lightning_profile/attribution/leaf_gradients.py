"""Whether a backward computed all gradients that it could.

``torch.autograd.grad`` asks for some gradients by name, and so does ``backward(inputs=...)``: each
node then computes what is on the way to those alone. What a layer's parameters and leaf inputs get
tells: autograd's engine hands such a gradient over at once, after the node that it came from.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Sequence

from lightning_profile.attribution.spans import Row, Span
from lightning_profile.records import Call, Op, Phase

_HANDED_OVER = "autograd::engine::evaluate_function: torch::autograd::AccumulateGrad"

_Pass = tuple[Row, int]  # a row in one pass of the engine


def mark_missing_gradients(
    ops: Sequence[Op], of_ops: Sequence[Span], calls: Sequence[Call | None]
) -> None:
    """Mark the rows that lack gradients in a pass of the backward.

    Args:
        ops: Recorded operators, parents before children.
        of_ops: The span of each.
        calls: The window's list of calls.
    """
    forwards, engines_calls = _by_time(ops)
    handed_over: Counter[_Pass] = Counter()
    executed: defaultdict[_Pass, set[int]] = defaultdict(set)
    node: Span | None = None
    for start_ns, position in engines_calls:
        # Between two passes there is a forward.
        number = bisect.bisect(forwards, start_ns)
        if ops[position].name == _HANDED_OVER:
            for each in () if node is None else node.around:
                handed_over[each.row, number] += 1
            continue
        span = of_ops[position]
        node = span if span.row.phase is Phase.BACKWARD else None
        for each in () if node is None else node.around:
            if each.position is not None:
                executed[each.row, number].add(each.position)
    for one_pass, positions in executed.items():
        if handed_over[one_pass] < _wanted(positions, calls):
            one_pass[0].lacks_gradients = True


def _by_time(ops: Sequence[Op]) -> tuple[list[int], list[tuple[int, int]]]:
    """When forwards made nodes, and when the engine called which, or handed a gradient over."""
    forwards: list[int] = []
    engines_calls: list[tuple[int, int]] = []
    in_engine: list[bool] = []
    for position, op in enumerate(ops):
        is_call = op.name == _HANDED_OVER or (
            op.forward_thread is not None and not op.is_autograd_node
        )
        in_engine.append(is_call or (op.parent is not None and in_engine[op.parent]))
        if is_call:
            engines_calls.append((op.start_ns, position))
        elif op.sequence_number is not None and not in_engine[position]:
            forwards.append(op.start_ns)
    return sorted(forwards), sorted(engines_calls)


def _wanted(positions: set[int], calls: Sequence[Call | None]) -> int:
    """Gradients for leaves of calls of one layer: its parameters are the same in each."""
    called = [call for position in positions if (call := calls[position]) is not None]
    inputs = sum(each.is_leaf and each.requires_grad for call in called for each in call.inputs)
    return inputs + max(
        (sum(each.requires_grad for each in call.parameters) for call in called), default=0
    )
