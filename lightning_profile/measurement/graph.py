"""The nodes that a layer's forward adds to autograd's graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from lightning_profile.measurement.tensors import tensors_in

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
