"""From a model and the user's patterns to the layers to profile."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

from torch import nn

from lightning_profile.records import Layer

_NAMES_LISTED = 12  # more than these are abbreviated in an error message


class LayerSelectionError(ValueError):
    """A pattern that selects no layer of the model."""


def list_layers(model: nn.Module) -> list[Layer]:
    """Leaf modules in definition order, numbered per type (``Conv2d-1``, ``Conv2d-2``)."""
    counts: Counter[str] = Counter()
    layers = []
    for qualified_name, module in model.named_modules():
        is_leaf = next(module.children(), None) is None
        if not qualified_name or not is_leaf or _is_metric(module):
            continue
        type_name = type(module).__name__
        counts[type_name] += 1
        layers.append(
            Layer(
                qualified_name=qualified_name,
                display_name=f"{type_name}-{counts[type_name]}",
                type_name=type_name,
                module=module,
            )
        )
    return layers


def select_layers(model: nn.Module, patterns: Sequence[str]) -> list[Layer]:
    """The layers that ``patterns`` name, in definition order, each once.

    Args:
        model: The model that trains.
        patterns: Display names (``Conv2d-2``) or qualified names (``backbone.conv2``).

    Raises:
        LayerSelectionError: If there is no pattern, or one names no layer; the message lists
            what there is and the nearest name.
    """
    layers = list_layers(model)
    if not patterns:
        raise LayerSelectionError(f"no layer to profile was named; {_what_there_is(layers)}")
    selected = set()
    for pattern in patterns:
        matches = [
            layer.qualified_name
            for layer in layers
            if pattern in (layer.display_name, layer.qualified_name)
        ]
        if not matches:
            raise LayerSelectionError(
                f"no layer is called {pattern!r}{_nearest(pattern, layers)}; "
                f"{_what_there_is(layers)}"
            )
        selected.update(matches)
    return [layer for layer in layers if layer.qualified_name in selected]


def _is_metric(module: nn.Module) -> bool:
    """Whether this is a torchmetrics metric: a module to torch, but no layer."""
    return any(base.__module__.startswith("torchmetrics.") for base in type(module).__mro__)


def _nearest(pattern: str, layers: Sequence[Layer]) -> str:
    names = {name.lower(): name for layer in layers for name in _names(layer)}
    close = difflib.get_close_matches(pattern.lower(), names, n=1)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def _what_there_is(layers: Sequence[Layer]) -> str:
    listed = [f"{layer.display_name} ({layer.qualified_name})" for layer in layers[:_NAMES_LISTED]]
    if len(layers) > _NAMES_LISTED:
        listed.append(f"and {len(layers) - _NAMES_LISTED} more")
    return f"the model has {', '.join(listed) or 'no layers'}"


def _names(layer: Layer) -> tuple[str, str]:
    return layer.display_name, layer.qualified_name
