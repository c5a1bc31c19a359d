"""Forward hooks that only look: they never raise, and don't go along into copies and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import nn

from lightning_profile.records import Layer


def can_be_hooked(layer: Layer) -> bool:
    """Whether hooks on ``layer`` leave what is computed as it is.

    In a compiled graph they would be traced into it, or not run at all; a script has no place for
    them; and to the fast path of a transformer's layer they are a reason not to be taken.
    """
    is_fused = layer.fused_in is not None and not layer.fused_in.training
    is_script = isinstance(layer.entry, torch.jit.ScriptModule)
    return not (layer.in_compiled_graph or is_fused or is_script)


class Watcher(Protocol):
    """What the hooks tell of."""

    def enter(self, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A forward of ``layer`` begins."""

    def leave(self, layer: Layer, output: object) -> None:
        """A forward of ``layer`` ended, or raised."""

    def give_up(self, layer: Layer, fault: Exception) -> None:
        """One of the above raised ``fault``."""


_NONE: Mapping[str, Any] = MappingProxyType({})


def _no_hook(*_: object) -> None:
    """What a hook of ours becomes in a copy of the module that is made meanwhile."""


def _make_no_hook() -> Callable[..., None]:
    return _no_hook


@dataclass(frozen=True, slots=True)
class _Hook:
    watcher: Watcher
    layer: Layer

    def __deepcopy__(self, memo: object) -> Callable[..., None]:
        return _no_hook

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _make_no_hook, ()

    def _has_nothing_to_tell(self, module: nn.Module) -> bool:
        if torch.compiler.is_compiling():  # a function of the user's, which would get it all
            return True
        if module is self.layer.entry:
            return False
        # Quantization has moved it there with the user's, and nobody else would take it off.
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for number in [number for number, hook in hooks.items() if id(hook) == id(self)]:
                del hooks[number]
        return True


class EnterHook(_Hook):
    """Called before a forward, with the arguments."""

    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any, kwargs: Any = _NONE) -> None:
        """Tell of the beginning."""
        if self._has_nothing_to_tell(module):
            return
        try:
            self.watcher.enter(self.layer, args, kwargs)
        except Exception as fault:
            self.watcher.give_up(self.layer, fault)


class LeaveHook(_Hook):
    """Called after a forward, with its output; with ``None`` if it raised."""

    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Tell of the end."""
        if self._has_nothing_to_tell(module):
            return
        try:
            self.watcher.leave(self.layer, output)
        except Exception as fault:
            self.watcher.give_up(self.layer, fault)
