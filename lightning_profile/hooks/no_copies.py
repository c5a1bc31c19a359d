"""A module that is copied or saved meanwhile takes no hook of ours along."""

from __future__ import annotations

from collections.abc import Callable


def _no_hook(*_: object) -> None:
    """What a hook of ours becomes in a copy of the module that is made meanwhile."""


def _make_no_hook() -> Callable[..., None]:
    return _no_hook


class InNoCopy:
    """What copies and files of a module have nothing of."""

    __slots__ = ()

    def __deepcopy__(self, memo: object) -> Callable[..., None]:
        return _no_hook

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _make_no_hook, ()
