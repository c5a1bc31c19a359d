"""A captured call that runs again, its forward and its backward apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lightning_profile.counters.package import ReplayPackage
from lightning_profile.counters.settings import modes_of, write_switches
from lightning_profile.counters.tensors import StoredTensor, leaves_of, restore_all

_WARM_UPS = 3


class Repetition:
    """A captured call that can be repeated; the switches of the process become the call's."""

    def __init__(self, package: ReplayPackage) -> None:
        write_switches(package.settings)
        self._package = package
        stored = {
            id(leaf): leaf
            for leaf in leaves_of((package.args, package.kwargs))
            if isinstance(leaf, StoredTensor)
        }
        self._inputs = {key: tensor.restore() for key, tensor in stored.items()}
        self._gradients = [
            gradient.restore() if gradient is not None else None for gradient in package.gradients
        ]

    @property
    def has_backward(self) -> bool:
        """Whether gradients of the output are known."""
        return any(gradient is not None for gradient in self._gradients)

    def fresh_arguments(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments with copies of the tensors, which the layer may modify in place."""
        with torch.enable_grad():
            fresh = {key: _same_layout_copy(tensor) for key, tensor in self._inputs.items()}
        arguments: tuple[tuple[Any, ...], Mapping[str, Any]] = restore_all(
            (self._package.args, dict(self._package.kwargs)), fresh
        )
        return arguments

    def forward(self, arguments: tuple[tuple[Any, ...], Mapping[str, Any]]) -> Any:
        """Call the layer as it was called."""
        args, kwargs = arguments
        with modes_of(self._package.settings):
            return self._package.module(*args, **kwargs)

    def backward(self, output: Any) -> dict[str, torch.Tensor | None]:
        """The backward pass of ``output``: a gradient by name for all that needs one.

        Nothing is accumulated into ``.grad``: that is the engine's work, not the layer's.
        """
        tensors = [leaf for leaf in leaves_of(output) if isinstance(leaf, torch.Tensor)]
        pairs = [
            (tensor, gradient)
            for tensor, gradient in zip(tensors, self._gradients, strict=True)
            if gradient is not None
        ]
        needed: dict[str, torch.Tensor] = {
            name: parameter
            for name, parameter in self._package.module.named_parameters()
            if parameter.requires_grad
        }
        for position, tensor in enumerate(self._inputs.values()):
            if tensor.requires_grad:
                needed[f"input {position}"] = tensor
        gradients = torch.autograd.grad(
            [tensor for tensor, _ in pairs],
            list(needed.values()),
            [gradient for _, gradient in pairs],
            allow_unused=True,
        )
        return dict(zip(needed, gradients, strict=True))

    def warm_up(self) -> None:
        """Run both phases until libraries have chosen their algorithms and memory is there."""
        for _ in range(_WARM_UPS):
            output = self.forward(self.fresh_arguments())
            if self.has_backward:
                self.backward(output)


def _same_layout_copy(tensor: torch.Tensor) -> torch.Tensor:
    copy = tensor.clone()
    # A layout with gaps or overlaps is not cloned: nothing modifies such a tensor in place.
    return copy if copy.stride() == tensor.stride() else tensor
