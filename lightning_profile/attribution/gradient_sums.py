"""Whose the sums of gradients are that autograd's engine makes itself.

A tensor that is used more than once gets a gradient from each user. The engine adds them up, in its
calls of the users' nodes: the first gradient to arrive is kept as it is, each later one is added.
Such a sum is the work of the innermost call that all users are in: the input of a residual block is
used by its first layer and by its addition, so the block's backward it is, and neither layer's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lightning_profile.records import BackwardGraph, Call, Op

_SUMS = ("aten::add", "aten::add_")


def is_gradient_sum(op: Op, ops: Sequence[Op]) -> bool:
    """Whether the engine adds up gradients here.

    What else it does around a node is the layer's: it reduces and casts gradients to what they
    are gradients of (a bias that was broadcast), and frees what the node no longer needs.
    """
    return op.name in _SUMS and op.parent is not None and _is_engines_call(ops[op.parent])


def calls_of_gradient_sums(
    ops: Sequence[Op],
    calls: Sequence[Call | None],
    graphs: Sequence[BackwardGraph],
    creators: Mapping[tuple[int | None, int | None], int | None],
) -> Mapping[int, int]:
    """Position of the call that each sum of gradients belongs to, by the sum's own position.

    Left out are sums of users that are in no call together, and those that the graphs don't tell:
    of a graph within the backward, or of one that ran in part only.

    Args:
        ops: Recorded operators, parents before children.
        calls: The window's list of calls.
        graphs: Of the backward passes in it.
        creators: Position of the call that created each node, by forward thread and number.
    """
    thread = next((op.thread for op in ops if _is_numbered_forward(op)), None)
    sums = defaultdict(list)
    engines_calls = []
    for position, op in enumerate(ops):
        number = op.sequence_number
        if op.forward_thread == thread and _is_engines_call(op) and number is not None:
            engines_calls.append((op.start_ns, position, number))
        elif op.parent is not None and is_gradient_sum(op, ops):
            sums[op.parent].append(position)
    if not sums:
        return {}
    arrivals = _Arrivals(graphs)
    found = {}
    for _, position, node in sorted(engines_calls):
        added = arrivals.of(node)
        if len(added) != len(sums[position]):
            continue
        for sum_position, users in zip(sums[position], added, strict=True):
            call = _innermost(calls, [creators.get((thread, user)) for user in users])
            if call is not None:
                found[sum_position] = call
    return found


class _Arrivals:
    """Tells, node by node, which of its gradients are added to earlier ones."""

    def __init__(self, graphs: Sequence[BackwardGraph]) -> None:
        self._graphs = graphs
        self._users: list[defaultdict[int, list[int]]] = []
        for graph in graphs:
            users: defaultdict[int, list[int]] = defaultdict(list)
            for node, tensors in graph.shared.items():
                for tensor in tensors:
                    users[tensor].append(node)
            self._users.append(users)
        self._arrived: set[tuple[int, int]] = set()

    def of(self, node: int) -> list[list[int]]:
        """For each gradient of ``node`` that is added to others, all users of its tensor."""
        added = []
        for index, graph in enumerate(self._graphs):
            for tensor in graph.shared.get(node, ()):
                if (index, tensor) in self._arrived:
                    added.append(self._users[index][tensor])
                self._arrived.add((index, tensor))
        return added


def _innermost(calls: Sequence[Call | None], positions: Sequence[int | None]) -> int | None:
    """The innermost call that all those at ``positions`` are, or are inside of."""
    common: list[int] | None = None
    for position in positions:
        chain = []
        around = position
        while around is not None:
            chain.append(around)
            call = calls[around]
            around = None if call is None else call.parent
        common = chain if common is None else [each for each in common if each in chain]
    return common[0] if common else None


def _is_engines_call(op: Op) -> bool:
    return op.forward_thread is not None and not op.is_autograd_node


def _is_numbered_forward(op: Op) -> bool:
    return op.sequence_number is not None and op.forward_thread is None
