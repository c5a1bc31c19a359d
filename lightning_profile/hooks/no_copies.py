"""A module that is copied or saved meanwhile takes no hook of ours along."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, SupportsIndex

from torch import nn

# By number: what has hooks, and what says how they are to be called.
_PRE_TABLES = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs")
_POST_TABLES = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
_REDUCE = "__reduce_ex__"


def _no_hook(*_: object) -> None:
    """What a hook of ours becomes that is copied by itself, not with its table."""


def _make_no_hook() -> Callable[..., None]:
    return _no_hook


class InNoCopy:
    """A hook that copies and files of a module have nothing of."""

    __slots__ = ()

    def __deepcopy__(self, memo: object) -> Callable[..., None]:
        return _no_hook

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _make_no_hook, ()


def leave_out_of_copies(module: nn.Module) -> None:
    """Have copies and files of ``module`` made without the hooks of ours that it has.

    A hook can't do that by itself: whatever it became in a copy would have a place there, which
    torch notices (its scripts, and its fast path of transformers), and a file would need this
    package to be read. So the tables of hooks, which have room for attributes, are told how to be
    copied.
    """
    for hooks, table in _tables(module):
        table.__dict__[_REDUCE] = partial(_reduce_without_ours, hooks, table)


def end_leaving_out(module: nn.Module) -> None:
    """Have them made as always, unless there still are hooks of ours."""
    for hooks, table in _tables(module):
        if not any(isinstance(hook, InNoCopy) for hook in hooks.values()):
            table.__dict__.pop(_REDUCE, None)


def _tables(module: nn.Module) -> Iterator[tuple[Mapping[int, Any], OrderedDict[int, Any]]]:
    """Each table, after the one that has its hooks."""
    for names in (_PRE_TABLES, _POST_TABLES):
        hooks = getattr(module, names[0])
        yield from ((hooks, getattr(module, name)) for name in names)


def _reduce_without_ours(
    hooks: Mapping[int, Any], table: Mapping[int, Any], protocol: SupportsIndex
) -> str | tuple[Any, ...]:
    ours = {number for number, hook in hooks.items() if isinstance(hook, InNoCopy)}
    kept = OrderedDict((number, each) for number, each in table.items() if number not in ours)
    return kept.__reduce_ex__(protocol)
