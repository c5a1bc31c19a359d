"""Copies of a call's arguments in the host's memory that keep the layout, aliases and devices.

The layout decides which kernels run: channels last, a transposed view, the zero strides of an
expanded gradient. So the span of storage under a tensor is copied as it lies there, with its
strides, and a tensor that was given twice stays one: self-attention takes another path then.
The copy goes straight to the host: on the device it would raise the user's peak of memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    slice,
    range,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    torch.Size,
)
# Kernels load 16 bytes at once where the address allows it: the copy begins where the allocator's
# blocks of 512 bytes do, so that the address of the tensor in its block stays as odd as it was.
_ALIGNMENT_BYTES = 512


class UncopyableError(TypeError):
    """An argument or result that can't be copied; the message says which."""


@dataclass(frozen=True, eq=False, slots=True)
class StoredTensor:
    """A tensor's part of its storage in the host's memory, and how it lay there.

    Attributes:
        storage: The elements, one after the other.
        shape: The sizes.
        strides: Steps between elements, in elements.
        offset: Where in ``storage`` it begins.
        requires_grad: Whether the backward pass reaches it.
        device: Where it was.
    """

    storage: torch.Tensor
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    requires_grad: bool
    device: torch.device

    def restore(self) -> torch.Tensor:
        """The tensor as it was, on its device, as a leaf of the graph."""
        storage = self.storage.to(self.device, copy=True)
        tensor = storage.as_strided(self.shape, self.strides, self.offset).detach()
        return tensor.requires_grad_(self.requires_grad)


def store(tensor: torch.Tensor) -> StoredTensor:
    """Copy ``tensor`` to the host; on a GPU this waits for what was launched before.

    Raises:
        UncopyableError: If it is no plain tensor of strided memory.
    """
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise UncopyableError(f"a tensor of type {type(tensor).__name__}")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        raise UncopyableError(f"a tensor of layout {tensor.layout}")
    shape, strides = tuple(tensor.shape), tensor.stride()
    start = int(tensor.storage_offset())
    aligned = start - start % (_ALIGNMENT_BYTES // tensor.itemsize or 1)
    end = start
    if tensor.numel():
        end += 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    span = tensor.detach().as_strided((end - aligned,), (1,), aligned)
    return StoredTensor(
        storage=span.to("cpu", copy=True),
        shape=shape,
        strides=strides,
        offset=start - aligned,
        requires_grad=tensor.requires_grad,
        device=tensor.device,
    )


def store_all(arguments: Any) -> Any:
    """``arguments`` with :class:`StoredTensor` in place of tensors, one for each tensor.

    Raises:
        UncopyableError: If there is something that tensors may hide in.
    """
    stored: dict[int, StoredTensor] = {}

    def copy(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            if id(leaf) not in stored:
                stored[id(leaf)] = store(leaf)
            return stored[id(leaf)]
        if isinstance(leaf, _PLAIN):
            return leaf
        raise UncopyableError(f"an argument of type {type(leaf).__name__}")

    return map_leaves(copy, arguments)


def restore_all(arguments: Any, restored: Mapping[int, torch.Tensor]) -> Any:
    """Stored ``arguments`` with tensors again: those in ``restored``, by the stored one's id."""
    return map_leaves(
        lambda leaf: restored[id(leaf)] if isinstance(leaf, StoredTensor) else leaf, arguments
    )


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """``value`` with ``function`` of each leaf in nested tuples, lists and dictionaries."""
    if isinstance(value, tuple) and not isinstance(value, torch.Size):
        # Not by the type itself: the arguments of a named tuple's constructor are its own matter.
        return tuple.__new__(type(value), [map_leaves(function, part) for part in value])
    if type(value) is list:
        return [map_leaves(function, part) for part in value]
    if type(value) in (dict, OrderedDict):
        return type(value)((key, map_leaves(function, part)) for key, part in value.items())
    return function(value)


def leaves_of(value: Any) -> Iterator[Any]:
    """Every leaf in nested tuples, lists and dictionaries, in order."""
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from leaves_of(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from leaves_of(part)
    else:
        yield value
