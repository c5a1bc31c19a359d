"""Theory that is worked out once for all calls and layers that a formula can't tell apart."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from torch import nn

from lightning_profile.records import Call, CostedCall, Layer
from lightning_profile.theory.registry import cost_call

_NO_SETTINGS = frozenset(vars(nn.Module())) - {"training"}  # parameters, hooks, layers inside
_PLAIN = frozenset({type(None), bool, int, float, str})
_MOST = 1024  # kinds of calls remembered, so that ever new shapes don't fill the memory


class KnownTheory:
    """The theory of one training: a window's is mostly that of the window before."""

    def __init__(self) -> None:
        self._costs: dict[Hashable, CostedCall] = {}

    def cost_calls(
        self, layers: Sequence[Layer], calls: Sequence[Call | None]
    ) -> list[CostedCall | None]:
        """Every call of a window with its costs, in place."""
        if len(self._costs) > _MOST:
            self._costs.clear()
        by_name = {layer.qualified_name: layer for layer in layers}
        kinds = {name: _kind(by_name[name]) for name in {call.layer for call in calls if call}}
        of_this_window: dict[Hashable, CostedCall] = {}
        costed: list[CostedCall | None] = []
        for call in calls:
            if call is None:
                costed.append(None)
                continue
            kind = kinds[call.layer]
            known = of_this_window if kind is None else self._costs
            key = (kind or call.layer, call.geometry)
            like = known.get(key)
            if like is None:
                first = replace(call, step=0, index=0, parent=None)
                like = known[key] = cost_call(by_name[call.layer], first)
            costed.append(
                CostedCall(
                    call=call, costs=like.costs, reason=like.reason, footprint=like.footprint
                )
            )
        return costed


def _kind(layer: Layer) -> Hashable | None:
    """Type, settings and buffers' shapes; ``None`` for a layer that is like no other.

    That is one whose settings are more than plain values, which can change unseen, or lie in
    layers inside. What there is to know of parameters is part of a call.
    """
    module = layer.module
    settings = {name: value for name, value in vars(module).items() if name not in _NO_SETTINGS}
    if module._modules or not all(map(_is_plain, settings.values())):
        return None
    buffers = [(name, each.shape) for name, each in module._buffers.items() if each is not None]
    return type(module), layer.type_name, tuple(settings.items()), tuple(buffers)


def _is_plain(value: object) -> bool:
    return type(value) in _PLAIN or (isinstance(value, tuple) and all(map(_is_plain, value)))
