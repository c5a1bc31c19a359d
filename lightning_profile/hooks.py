"""Forward hooks that only look: they never raise, and don't go along into copies and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from lightning_profile.records import Layer


class Watcher(Protocol):
    """What the hooks tell of."""

    def enter(self, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A forward of ``layer`` begins."""

    def leave(self, layer: Layer, output: object) -> None:
        """A forward of ``layer`` ended, or raised."""

    def give_up(self, layer: Layer, fault: Exception) -> None:
        """One of the above raised ``fault``."""


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


class EnterHook(_Hook):
    """Called before a forward, with the arguments."""

    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Tell of the beginning."""
        try:
            self.watcher.enter(self.layer, args, kwargs)
        except Exception as fault:
            self.watcher.give_up(self.layer, fault)


class LeaveHook(_Hook):
    """Called after a forward, with its output; with ``None`` if it raised."""

    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Tell of the end."""
        try:
            self.watcher.leave(self.layer, output)
        except Exception as fault:
            self.watcher.give_up(self.layer, fault)
