"""Hooks of one layer's forward, which tell of it and never raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import nn

from lightning_profile.hooks.no_copies import InNoCopy
from lightning_profile.records import Layer


class Watcher(Protocol):
    """What the hooks tell of."""

    def enter(self, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A forward of ``layer`` begins."""

    def leave(self, layer: Layer, output: object) -> None:
        """A forward of ``layer`` ended, or raised."""

    def give_up(self, layer: Layer, fault: Exception) -> None:
        """One of the above raised ``fault``."""


@dataclass(frozen=True, slots=True)
class _Hook(InNoCopy):
    watcher: Watcher
    layer: Layer

    def _is_elsewhere(self, module: nn.Module) -> bool:
        """Whether quantization has moved it to a module in the layer's place.

        A shallow copy of the layer has the very hooks that the layer has, and may stand for it.
        """
        return module._forward_pre_hooks is not self.layer.entry._forward_pre_hooks


_NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})


class EnterHook(_Hook):
    """Called before a forward, with the arguments."""

    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any, kwargs: Any = _NO_ARGUMENTS) -> None:
        """Tell of the beginning."""
        if torch.compiler.is_compiling():  # a function of the user's, which would get it all
            return
        try:
            if self._is_elsewhere(module):
                self._take_off(module)
            elif any(hook is self for hook in module._forward_pre_hooks.values()):
                self.watcher.enter(self.layer, args, kwargs)  # else it was just taken off
        except Exception as fault:
            self.watcher.give_up(self.layer, fault)

    def _take_off(self, module: nn.Module) -> None:
        """Nobody else would; and nothing goes through the hooks of a forward to come."""
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for number, hook in list(hooks.items()):
                if isinstance(hook, _Hook) and hook.layer is self.layer:
                    hooks.pop(number, None)


class LeaveHook(_Hook):
    """Called after a forward, with its output; with ``None`` if it raised."""

    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Tell of the end."""
        if torch.compiler.is_compiling():
            return
        try:
            if not self._is_elsewhere(module):
                self.watcher.leave(self.layer, output)
        except Exception as fault:
            self.watcher.give_up(self.layer, fault)
