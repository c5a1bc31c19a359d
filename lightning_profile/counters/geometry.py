"""Which calls are alike: those launch the same kernels, so one of them is enough to count."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import nn

from lightning_profile.counters.settings import Settings
from lightning_profile.counters.tensors import leaves_of
from lightning_profile.records import Layer

Geometry = tuple[Hashable, ...]


def geometry_of(
    layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any], settings: Settings
) -> Geometry:
    """All that the kernels of a call may depend on, except for the values in its tensors."""
    module = layer.module
    return (
        _identity(layer),
        repr(module),
        module.training,
        tuple(_facts(each) for each in (*module.parameters(), *module.buffers())),
        tuple(_leaf(each) for each in leaves_of(args)),
        tuple((name, *map(_leaf, leaves_of(value))) for name, value in kwargs.items()),
        _aliases((args, kwargs)),
        tuple(settings.switches.items()),
        settings.autocasts,
        settings.has_gradients,
        settings.is_inference,
    )


def device_of(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.device:
    """Where a call runs: a GPU if any of its tensors is there."""
    tensors = [each for each in leaves_of((args, kwargs)) if isinstance(each, torch.Tensor)]
    devices = [each.device for each in (*tensors, *module.parameters())]
    on_gpu = (device for device in devices if device.type != "cpu")
    return next(on_gpu, torch.device("cpu"))


def _identity(layer: Layer) -> str:
    """Empty if what a module prints of itself says all about it; otherwise whose call it is."""
    is_plain = type(layer.module).__module__.startswith("torch.nn.modules.")
    return "" if is_plain and not layer.module._modules else layer.qualified_name


def _facts(tensor: torch.Tensor) -> Hashable:
    strides = tensor.stride() if tensor.layout == torch.strided else ()
    return (tuple(tensor.shape), strides, tensor.dtype, tensor.device, tensor.requires_grad)


def _leaf(leaf: object) -> Hashable:
    return _facts(leaf) if isinstance(leaf, torch.Tensor) else repr(leaf)


def _aliases(arguments: object) -> tuple[int, ...]:
    """Which of the arguments are one and the same tensor."""
    seen: dict[int, int] = {}
    return tuple(
        seen.setdefault(id(leaf), len(seen))
        for leaf in leaves_of(arguments)
        if isinstance(leaf, torch.Tensor)
    )
