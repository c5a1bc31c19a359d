"""Which call each autograd node stems from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from lightning_profile.records import Call, Op

Node = tuple[int | None, int | None]  # the thread that made it, and its sequence number


@dataclass(frozen=True, slots=True)
class NodeMakers:
    """The nodes that numbered operators made.

    Attributes:
        calls: Position of the call that each stems from, ``None`` without one.
        made_by_backward: Those that a backward made, to be differentiated itself.
    """

    calls: Mapping[Node, int | None]
    made_by_backward: AbstractSet[Node]


def find_node_makers(ops: Sequence[Op], calls: Sequence[Call | None]) -> NodeMakers:
    """Who made each node.

    Operators that create no node (a frozen layer's) show the number of the next node to come, so
    the last operator with a number is the one that created it. What the backward of a call makes
    (``create_graph=True``) stems from that call.

    Args:
        ops: Recorded operators, parents before children.
        calls: The window's list of calls that the operators' ``call`` fields point into.
    """
    makers: dict[Node, int | None] = {}
    made_by_backward: set[Node] = set()
    inside: list[int | None] = []  # per operator, the innermost call that it is part of
    in_backward: list[bool] = []  # or is part of the backward of
    for op in ops:
        position = None if op.parent is None else inside[op.parent]
        is_backward = op.parent is not None and in_backward[op.parent]
        node = (op.thread, op.sequence_number)
        if op.call is not None and calls[op.call] is not None:
            position, is_backward = op.call, False  # checkpointing may repeat a forward there
        elif op.forward_thread is not None:
            node = (op.forward_thread, op.sequence_number)
            if is_backward and not op.is_autograd_node:
                made_by_backward.discard(node)  # of a forward that a backward repeats, as above
            position, is_backward = makers.get(node, position), True
        elif op.sequence_number is not None:
            makers[node] = position
            if is_backward:
                made_by_backward.add(node)
            else:
                made_by_backward.discard(node)
        inside.append(position)
        in_backward.append(is_backward)
    return NodeMakers(makers, made_by_backward)
