"""What the user's patterns select."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import NamedTuple, cast

from torch import nn

from lightning_profile.quoting import quoted
from lightning_profile.records import Layer
from lightning_profile.selection.catalogue import Catalogue, list_layers

Pattern = str | type[nn.Module]

ALL = "all"
_DEFAULT = "every layer with parameters"
_NAMES_LISTED = 12  # more than these are abbreviated in an error message
_LONGEST_NAME = 200


class LayerSelectionError(ValueError):
    """A pattern that selects no layer of the model."""


class Resolved(NamedTuple):
    """One pattern, as the user would say it, and the layers that it selects."""

    pattern: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """The layers to watch, in definition order, and what each pattern resolved to.

    Attributes:
        watched: The selected layers, and those inside of selected containers (without a row),
            as a container's theory is that of what is inside.
        resolved: One entry per pattern.
    """

    watched: tuple[Layer, ...]
    resolved: tuple[Resolved, ...]

    @property
    def rows(self) -> tuple[Layer, ...]:
        """The layers to report."""
        return tuple(layer for layer in self.watched if layer.has_row)


def list_patterns(patterns: object) -> list[Pattern]:
    """One pattern, or several in whatever kind of collection, as a list.

    Raises:
        LayerSelectionError: If one of them is neither a string nor a class of modules.
    """
    listed = [patterns]
    if isinstance(patterns, Iterable) and not isinstance(patterns, (str, bytes, type, nn.Module)):
        with contextlib.suppress(TypeError):  # a tensor or array of a single number
            listed = list(patterns)
    for pattern in listed:
        if not isinstance(pattern, str) and not _is_module_class(pattern):
            raise LayerSelectionError(
                f"a layer is named by a string or by a class of modules, not by {quoted(pattern)}"
            )
    return cast("list[Pattern]", listed)


def select_layers(
    model: nn.Module, patterns: Pattern | Sequence[Pattern] | None = None
) -> Selection:
    """The layers that ``patterns`` select, in definition order, each once.

    Args:
        model: The model that trains.
        patterns: One or several of: a display name (``Conv2d-2``), a qualified name
            (``backbone.conv2``), a glob over either (``encoder.*.attn``; ``*`` matches dots
            too), a type's name (``Linear``, ``nn.Linear``), a class (its subclasses included),
            or ``all``. ``None`` is every layer with parameters that has no layers inside.

    Raises:
        LayerSelectionError: If there is no pattern, or one selects nothing (the message lists what
            there is and the nearest name) or is of a wrong type.
    """
    catalogue = list_layers(model)
    if patterns is None:
        leaves = [layer for layer in catalogue.layers if _is_default(layer)]
        if not leaves:
            raise LayerSelectionError("the model has no layers with parameters")
        return _selection(catalogue, [Resolved(_DEFAULT, tuple(leaves))])
    wanted = list_patterns(patterns)
    if not wanted:
        raise LayerSelectionError(f"no layer to profile was named; {_what_there_is(catalogue)}")
    return _selection(catalogue, [_resolve(pattern, catalogue) for pattern in wanted])


def _selection(catalogue: Catalogue, resolved: Sequence[Resolved]) -> Selection:
    by_name = {id(layer) for each in resolved if each.pattern != ALL for layer in each.layers}
    chosen = {id(layer) for each in resolved for layer in each.layers}
    inside = {
        id(part)
        for each in resolved
        for layer in each.layers
        if layer.is_container
        for part in catalogue.inside(layer)
    }
    # The wrapper's call is all that can be seen of a compiled graph.
    graphs = {
        id(layer)
        for layer in catalogue.layers
        if layer.entry is not layer.module
        for part in catalogue.inside(layer)
        if id(part) in chosen
    }
    watched = tuple(
        replace(
            layer,
            has_row=id(layer) in chosen,
            needs_own_work=layer.is_container and id(layer) not in by_name,
        )
        for layer in catalogue.layers
        if id(layer) in chosen | inside | graphs
    )
    return Selection(watched, tuple(resolved))


def _is_module_class(pattern: object) -> bool:
    return isinstance(pattern, type) and nn.Module in pattern.__mro__


def _resolve(pattern: Pattern, catalogue: Catalogue) -> Resolved:
    if pattern == ALL:
        return Resolved(ALL, tuple(catalogue.layers))
    if isinstance(pattern, str):
        name, layers = pattern, _matching(pattern, catalogue)
    else:
        name = pattern.__name__
        layers = [layer for layer in catalogue.layers if isinstance(layer.module, pattern)]
    if not layers:
        raise LayerSelectionError(
            f"no layer is called {quoted(name)}{_nearest(name, catalogue)}; "
            f"{_what_there_is(catalogue)}"
        )
    return Resolved(name, tuple(layers))


def _matching(pattern: str, catalogue: Catalogue) -> list[Layer]:
    type_name = pattern.removeprefix("torch.").removeprefix("nn.")
    selected = {
        id(layer)
        for name, layer in catalogue.names.items()
        if name == pattern or fnmatchcase(name, pattern)
    }
    return [
        layer
        for layer in catalogue.layers
        if id(layer) in selected
        or layer.type_name == type_name
        or fnmatchcase(layer.display_name, pattern)
        or pattern == f"{type(layer.module).__module__}.{layer.type_name}"
    ]


def _is_default(layer: Layer) -> bool:
    return not layer.is_container and next(layer.module.parameters(), None) is not None


def _nearest(pattern: str, catalogue: Catalogue) -> str:
    if len(pattern) > _LONGEST_NAME:  # it is no misspelling, and comparing would take long
        return ""
    candidates = [*catalogue.names]
    for layer in catalogue.layers:
        candidates += [layer.display_name, layer.type_name]
    names = {name.lower(): name for name in candidates}
    close = difflib.get_close_matches(pattern.lower(), names, n=1)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def _what_there_is(catalogue: Catalogue) -> str:
    leaves = [layer for layer in catalogue.layers[1:] if not layer.is_container]
    listed = [f"{layer.display_name} ({layer.qualified_name})" for layer in leaves[:_NAMES_LISTED]]
    if len(leaves) > _NAMES_LISTED:
        listed.append(f"and {len(leaves) - _NAMES_LISTED} more")
    return " ".join(f"the model has {', '.join(listed) or 'no layers'}".split())
