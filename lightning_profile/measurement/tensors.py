"""Tensors inside of whatever a module or a data loader hands around."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch


def tensors_in(value: object) -> Iterator[torch.Tensor]:
    """Every tensor in nested tuples, lists, mappings and dataclasses, in order.

    Also in the ``tensors`` of a container such as torchvision's list of images.
    """
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name, None))
    elif isinstance(tensors := getattr(value, "tensors", None), (torch.Tensor, tuple, list)):
        yield from tensors_in(tensors)


def batch_size(batch: object) -> int | None:
    """Length of the first tensor with a dimension, ``None`` if there is no such tensor."""
    return next((len(tensor) for tensor in tensors_in(batch) if tensor.dim()), None)
