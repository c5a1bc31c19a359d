"""Tensors inside of whatever a module or a data loader hands around."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import MemberDescriptorType

import torch


def tensors_in(value: object) -> Iterator[torch.Tensor]:
    """Every tensor in nested tuples, lists, dictionaries and dataclasses, in order.

    Also in the ``tensors`` of a container such as torchvision's list of images. A container that
    is found again, perhaps inside of itself, is not looked into again.
    """
    return _tensors_in(value, set())


def batch_size(batch: object) -> int | None:
    """Length of the first tensor with a dimension, ``None`` if there is no such tensor."""
    return next((len(tensor) for tensor in tensors_in(batch) if tensor.dim()), None)


def _tensors_in(value: object, seen: set[int]) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif (parts := _parts(value)) is not None and id(value) not in seen:
        seen.add(id(value))
        for part in parts:
            yield from _tensors_in(part, seen)


def _parts(value: object) -> Iterable[object] | None:
    # By the methods of the builtin: those of a class of the user's may do anything, such as draw
    # random numbers for what is only asked for.
    if isinstance(value, tuple):
        return tuple.__iter__(value)
    if isinstance(value, list):
        return list.__iter__(value)
    if isinstance(value, dict):
        return dict.values(value)
    # Nor by `getattr`: a property runs the user's code, too.
    attributes = _attributes(value)
    if isinstance(value, Mapping):  # what it keeps its items in, as far as that is to be seen
        return [each for each in attributes.values() if isinstance(each, (dict, list, tuple))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [_field(value, attributes, field.name) for field in dataclasses.fields(type(value))]
    tensors = attributes.get("tensors")
    return (tensors,) if isinstance(tensors, (torch.Tensor, tuple, list)) else None


def _attributes(value: object) -> dict[str, object]:
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return attributes if isinstance(attributes, dict) else {}


def _field(value: object, attributes: Mapping[str, object], name: str) -> object:
    slot = inspect.getattr_static(type(value), name, None)
    if isinstance(slot, MemberDescriptorType):
        with contextlib.suppress(AttributeError):  # not set
            return slot.__get__(value)
    return attributes.get(name)
