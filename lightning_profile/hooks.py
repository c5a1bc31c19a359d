"""Forward hooks that only look: they never raise, and don't go along into copies and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

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


class _InNoCopy:
    """What copies and files of a module have nothing of."""

    __slots__ = ()

    def __deepcopy__(self, memo: object) -> Callable[..., None]:
        return _no_hook

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _make_no_hook, ()


@dataclass(frozen=True, slots=True)
class _Hook(_InNoCopy):
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


class LayerHooks:
    """Hooks on layers.

    Not on what runs in a compiled graph, which would be traced with them or not run them at all,
    nor on scripts, which have no place for them.
    """

    def __init__(self) -> None:
        self._handles: dict[str, tuple[Layer, list[RemovableHandle]]] = {}
        self._fast_paths: dict[int, RemovableHandle] = {}

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
        self._handles[layer.qualified_name] = (
            layer,
            [
                pre(enter, prepend=enters_first, with_kwargs=True),
                # Always called, to notice a forward that raised.
                post(leave, prepend=leaves_first, always_call=True),
            ],
        )
        if layer.fused_in is not None:
            self._look_out_for_fast_path(layer.fused_in)

    def remove(self) -> None:
        """Watch nothing any more; safe to call at any time and again."""
        for _, handles in self._handles.values():
            for handle in handles:
                handle.remove()
        for handle in self._fast_paths.values():
            handle.remove()
        self._handles.clear()
        self._fast_paths.clear()

    def let_go(self, fused: nn.TransformerEncoderLayer) -> None:
        """Watch nothing in ``fused`` any more."""
        for name, (layer, handles) in list(self._handles.items()):
            if layer.fused_in is fused:
                for handle in handles:
                    handle.remove()
                self._handles.pop(name, None)
        look_out = self._fast_paths.pop(id(fused), None)  # another thread may have been first
        if look_out is not None:
            look_out.remove()

    def _look_out_for_fast_path(self, fused: nn.TransformerEncoderLayer) -> None:
        if id(fused) in self._fast_paths:
            self._fast_paths.pop(id(fused)).remove()  # it comes before all others, new ones too
        hook = _FastPathHook(self, fused)
        self._fast_paths[id(fused)] = fused.register_forward_pre_hook(hook, prepend=True)


@dataclass(frozen=True, slots=True)
class _FastPathHook(_InNoCopy):
    """Takes all hooks of ours off a transformer's layer that torch may compute at once.

    Were there any, in it or in a module inside of it, torch would compute it one by one, with other
    bits. It looks for them only after this is called.
    """

    hooks: LayerHooks
    fused: nn.TransformerEncoderLayer

    def __call__(self, module: nn.Module, args: Any) -> None:
        """A forward begins."""
        if torch.compiler.is_compiling() or module is not self.fused:
            return
        try:
            is_fast = may_take_fast_path(self.fused)
        except Exception:  # rather no row than other bits
            is_fast = True
        if is_fast:
            self.hooks.let_go(self.fused)


def may_take_fast_path(layer: nn.TransformerEncoderLayer) -> bool:
    """Whether nothing but its arguments could keep torch from the fast path, were there no hooks.

    The conditions are those of torch's ``nn/modules/transformer.py``.
    """
    attention = layer.self_attn
    is_supported = (
        not layer.training
        and attention.batch_first
        and attention.in_proj_bias is not None
        and attention._qkv_same_embed_dim
        and attention.num_heads % 2 == 0
        and bool(layer.activation_relu_or_gelu)
        and layer.norm1.eps == layer.norm2.eps
    )
    if not is_supported or torch.is_autocast_enabled():
        return False
    parts = (layer.norm1, layer.norm2, layer.linear1, layer.linear2, attention.out_proj)
    used = [each for part in parts for each in (part.weight, part.bias)]
    used += [attention.in_proj_weight, attention.in_proj_bias]
    is_trained = torch.is_grad_enabled() and any(each.requires_grad for each in used)
    return torch.backends.mha.get_fastpath_enabled() and not is_trained
