"""How a compiled module was called, without the data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from lightning_profile.measurement.tensors import tensors_in


@dataclass(frozen=True, slots=True)
class _Shape:
    """What remains of a tensor."""

    sizes: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    requires_grad: bool

    def empty(self) -> torch.Tensor:
        return torch.empty(
            self.sizes, dtype=self.dtype, device=self.device, requires_grad=self.requires_grad
        )


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call into a compiled graph, without the data.

    Attributes:
        module: What was compiled, without its wrapper.
        method: The method called.
        arguments: Positional and keyword arguments; shapes in place of tensors.
        context: What the call ran in, such as autocast.
        has_gradients: Whether the call built a graph for a backward pass.
    """

    module: nn.Module
    method: str
    arguments: tuple[tuple[Any, ...], Mapping[str, Any]]
    context: Callable[[], contextlib.AbstractContextManager[object]]
    has_gradients: bool


def _remember_shapes(arguments: Any) -> Any:
    """``arguments`` with shapes in place of tensors, so that no memory is held."""
    return tree_map_only(
        torch.Tensor,
        lambda tensor: _Shape(
            tuple(tensor.shape), tensor.dtype, tensor.device, tensor.requires_grad
        ),
        arguments,
    )


def invocation(
    module: nn.Module, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Invocation:
    """A call that is about to be made, in the autocast and gradient mode of this moment."""
    device_type = next((each.device.type for each in tensors_in((args, kwargs))), "cpu")
    is_enabled = torch.is_autocast_enabled(device_type)
    dtype = torch.get_autocast_dtype(device_type)
    return Invocation(
        module=module,
        method=method,
        arguments=_remember_shapes((args, dict(kwargs))),
        context=lambda: torch.autocast(device_type, dtype=dtype, enabled=is_enabled),
        has_gradients=torch.is_grad_enabled(),
    )


def with_fake_tensors(arguments: Any) -> Any:
    """Remembered ``arguments`` with empty tensors; fake ones inside of a ``FakeTensorMode``."""
    return tree_map_only(_Shape, _Shape.empty, arguments)
