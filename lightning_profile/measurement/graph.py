"""Autograd's graph: the nodes that a layer's forward adds, and the tensors that several use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch

from lightning_profile.measurement.tensors import tensors_in
from lightning_profile.records import BackwardGraph

_LEAF = "AccumulateGrad"  # a parameter's, older than any forward


def next_node_number() -> int:
    """The number that the next node made on this thread will have."""
    return int(torch._C._autograd._get_sequence_nr())


def nodes_made(output: object, first_node: int, inputs: object = None) -> Iterator[Any]:
    """The nodes that a forward made, from its outputs back.

    Args:
        output: What the forward returned.
        first_node: The number of the first node that it could make.
        inputs: What it was given, whose nodes are older. Needed of a forward in the backward:
            each thread has numbers of its own.
    """
    to_do: list[Any] = [tensor.grad_fn for tensor in tensors_in(output)]
    seen = {tensor.grad_fn for tensor in tensors_in(inputs)}
    while to_do:
        node = to_do.pop()
        if node is None or node in seen or type(node).__name__ == _LEAF:
            continue
        seen.add(node)
        if node._sequence_nr() >= first_node:
            yield node
            to_do += [around for around, _ in node.next_functions]


def backward_graph(loss: torch.Tensor) -> BackwardGraph:
    """Which nodes of the graph behind ``loss`` have gradients of one tensor."""
    edges: list[tuple[int, list[tuple[Any, int]]]] = []
    uses: defaultdict[tuple[Any, int], int] = defaultdict(int)
    to_do: list[Any] = [] if loss.grad_fn is None else [loss.grad_fn]
    seen = set(to_do)
    while to_do:
        node = to_do.pop()
        # A tensor is a node and which of the node's outputs it is.
        tensors = [edge for edge in node.next_functions if edge[0] is not None]
        for tensor in tensors:
            uses[tensor] += 1
            if tensor[0] not in seen:
                seen.add(tensor[0])
                to_do.append(tensor[0])
        if tensors:
            edges.append((node._sequence_nr(), tensors))
    shared = {tensor: number for number, tensor in enumerate(uses) if uses[tensor] > 1}
    of_nodes = {
        number: tuple(shared[tensor] for tensor in tensors if tensor in shared)
        for number, tensors in edges
    }
    return BackwardGraph({number: tensors for number, tensors in of_nodes.items() if tensors})
