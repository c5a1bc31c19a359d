"""From a module's type to its formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import singledispatch

from torch import nn

from lightning_profile.records import Call, Cost, Equation, Layer, Phase


@singledispatch
def phase_costs(module: nn.Module, call: Call) -> dict[Phase, Cost] | None:
    """Theoretical cost of one call of ``module``.

    Args:
        module: The layer.
        call: The shapes and the element type that it was called with.

    Returns:
        The cost of the forward and of each gradient that the call's backward pass computes;
        ``None`` if no formula is registered for this type of layer.
    """
    return None


@singledispatch
def footprint(module: nn.Module, call: Call) -> tuple[Equation, ...] | None:
    """What ``module`` keeps in memory on paper, the optimizer's state apart.

    Returns:
        One equation per quantity, named as the fields of
        :class:`~lightning_profile.records.Footprint`; ``None`` without a registered formula.
    """
    return None


def cost_calls(
    layers: Sequence[Layer], calls: Sequence[Call]
) -> list[tuple[Call, Mapping[Phase, Cost] | None]]:
    """Every call with its costs; calls of one geometry are computed once."""
    modules = {layer.qualified_name: layer.module for layer in layers}
    known: dict[Call, Mapping[Phase, Cost] | None] = {}
    costed = []
    for call in calls:
        geometry = replace(call, step=0, index=0)
        if geometry not in known:
            known[geometry] = phase_costs(modules[call.layer], geometry)
        costed.append((call, known[geometry]))
    return costed
