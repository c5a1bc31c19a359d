"""What autograd keeps of a layer's forward for its backward, read off the graph.

The nodes that a forward made show what they saved. To look changes nothing: a saved tensor is
handed out as it is. Where that is not so (someone's hooks pack and unpack what is saved, as in
activation checkpointing), or where a node does not show all, nothing is read.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable
from typing import Any

import torch
from torch import nn
from torch.autograd.function import BackwardCFunction

from lightning_profile.measurement.graph import nodes_made
from lightning_profile.measurement.tensors import tensors_in

_OPAQUE = "CppFunction"  # the type of a node that another package made in C++


def saved_bytes(module: nn.Module, output: object, first_node: int) -> int | None:
    """Bytes of the storages that the nodes of a forward keep, parameters and buffers excluded.

    Args:
        module: The layer, which has no layers inside.
        output: What its forward returned.
        first_node: The number of the first node that the forward could make.

    Returns:
        ``None`` if it can't be read without a risk: a forward that is not torch's own may pack
        what it saves.
    """
    if not type(module).forward.__module__.startswith("torch.nn.") or "forward" in vars(module):
        return None
    if packs_saved():
        return None
    try:
        storages: dict[int, int] = {}
        for node in nodes_made(output, first_node):
            if isinstance(node, BackwardCFunction) or type(node).__name__ == _OPAQUE:
                return None
            kind: Any = type(node)
            for name in _saved_names(kind):
                storages |= _storages(tensors_in(getattr(node, name)))
        own = _storages(_own(module))
        return sum(size for address, size in storages.items() if address not in own)
    except Exception:  # changed in place, without a storage, or whatever else a tensor may be
        return None


def packs_saved() -> bool:
    """Whether hooks pack what autograd saves now."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def _own(module: nn.Module) -> list[torch.Tensor]:
    """What the layer has anyway: also weights computed from others, which are plain attributes."""
    plain = [value for value in vars(module).values() if isinstance(value, torch.Tensor)]
    return [*module.parameters(), *module.buffers(), *plain]


@functools.cache
def _saved_names(kind: Hashable) -> tuple[str, ...]:
    return tuple(name for name in vars(kind) if name.startswith("_saved_"))


def _storages(tensors: Iterable[torch.Tensor]) -> dict[int, int]:
    storages = [tensor.untyped_storage() for tensor in tensors]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}
