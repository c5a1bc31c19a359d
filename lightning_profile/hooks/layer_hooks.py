"""All hooks of a window: put on layers, and taken off again."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lightning_profile.hooks.fast_path import FastPathHook
from lightning_profile.hooks.forward_hooks import EnterHook, LeaveHook, Watcher
from lightning_profile.hooks.no_copies import end_leaving_out, leave_out_of_copies
from lightning_profile.records import Layer


class LayerHooks:
    """Hooks on layers.

    Not on what runs in a compiled graph, which would be traced with them or not run them at all,
    nor on scripts, which have no place for them.
    """

    def __init__(self) -> None:
        self._handles: dict[str, tuple[Layer, list[RemovableHandle]]] = {}
        self._fast_paths: dict[int, tuple[nn.TransformerEncoderLayer, RemovableHandle]] = {}

    def add(
        self,
        watcher: Watcher,
        layer: Layer,
        *,
        enters_first: bool = False,
        leaves_first: bool = False,
    ) -> None:
        """Watch ``layer``, if it is not watched already.

        Args:
            watcher: What is told. It is not kept, so that it can have these hooks without a cycle.
            layer: What to watch.
            enters_first: Whether its beginning comes before hooks that are there.
            leaves_first: Whether its end does.
        """
        is_script = isinstance(layer.entry, torch.jit.ScriptModule)
        if layer.in_compiled_graph or is_script or layer.qualified_name in self._handles:
            return
        enter, leave = EnterHook(watcher, layer), LeaveHook(watcher, layer)
        pre, post = layer.entry.register_forward_pre_hook, layer.entry.register_forward_hook
        handles: list[RemovableHandle] = []
        self._handles[layer.qualified_name] = layer, handles  # first: an interrupt may come between
        handles.append(pre(enter, prepend=enters_first, with_kwargs=True))
        # Always called, to notice a forward that raised.
        handles.append(post(leave, prepend=leaves_first, always_call=True))
        leave_out_of_copies(layer.entry)
        if layer.fused_in is not None:
            self._look_out_for_fast_path(layer.fused_in)

    def remove(self) -> None:
        """Watch nothing any more; safe to call at any time and again."""
        for layer, handles in self._handles.values():
            _take_off(layer.entry, handles)
        for fused, look_out in self._fast_paths.values():
            _take_off(fused, [look_out])
        self._handles.clear()
        self._fast_paths.clear()

    def let_go(self, fused: nn.TransformerEncoderLayer) -> None:
        """Watch nothing in ``fused`` any more."""
        for name, (layer, handles) in list(self._handles.items()):
            if layer.fused_in is fused:
                _take_off(layer.entry, handles)
                self._handles.pop(name, None)
        _, look_out = self._fast_paths.pop(id(fused), (fused, None))  # another thread may be first
        if look_out is not None:
            _take_off(fused, [look_out])

    def _look_out_for_fast_path(self, fused: nn.TransformerEncoderLayer) -> None:
        if id(fused) in self._fast_paths:
            self._fast_paths.pop(id(fused))[1].remove()  # it comes before all others, new ones too
        hook = FastPathHook(fused, self.let_go)
        look_out = fused.register_forward_pre_hook(hook, prepend=True)
        self._fast_paths[id(fused)] = fused, look_out
        leave_out_of_copies(fused)


def _take_off(module: nn.Module, handles: Iterable[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()
    end_leaving_out(module)
