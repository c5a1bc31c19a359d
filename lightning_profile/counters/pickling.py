"""Modules in files: without hooks, and with parametrizations, which torch itself refuses.

``copy.deepcopy`` would do the latter, but it copies on the device and so raises the user's peak of
memory. ``torch.save`` copies one storage after another to the host, and keeps what parameters
share: the weights of an LSTM stay one block of memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

_HOOKS = "_hooks"
_PRE_HOOKS = "_forward_pre_hooks"
# torch's own: they compute the weight (weight_norm, spectral_norm and prune of torch.nn.utils).
_WEIGHT_HOOKS = "torch.nn.utils."


def _new_module(kind: type[nn.Module]) -> nn.Module:
    return kind.__new__(kind)


def _set_parametrized_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Give a new module its parametrizations again, as ``register_parametrization`` does."""
    module.__dict__.update(state)
    parametrize._inject_new_class(module)
    for name in module._modules["parametrizations"]._modules:  # type: ignore[union-attr]
        parametrize._inject_property(module, name)


def without_hooks(state: Mapping[str, Any]) -> dict[str, Any]:
    """A module's state without hooks, except for torch's own that compute a weight."""
    kept = {
        key: hook
        for key, hook in state.get(_PRE_HOOKS, {}).items()
        if type(hook).__module__.startswith(_WEIGHT_HOOKS)
    }
    return {
        name: type(value)(kept if name == _PRE_HOOKS else ()) if _is_hooks(name, value) else value
        for name, value in state.items()
    }


def _is_hooks(name: str, value: object) -> bool:
    return _HOOKS in name and isinstance(value, dict)


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, nn.Module):
            return NotImplemented
        if parametrize.is_parametrized(obj):
            kind = parametrize.type_before_parametrizations(obj)
            state = without_hooks(vars(obj))
            return _new_module, (kind,), state, None, None, _set_parametrized_state
        reduced = obj.__reduce_ex__(pickle.DEFAULT_PROTOCOL)
        if isinstance(reduced, tuple) and len(reduced) > 2 and isinstance(reduced[2], dict):
            return (*reduced[:2], without_hooks(reduced[2]), *reduced[3:])
        return reduced


class ModulePickling:
    """What ``torch.save`` takes as ``pickle_module``."""

    __name__ = "pickle"
    Pickler = _Pickler


def problem_with(module: nn.Module) -> str:
    """Why ``module`` can't be loaded by another process; empty if it seems that it can."""
    for part in module.modules():
        kind = type(part)
        if isinstance(part, torch.jit.ScriptModule):
            return f"{kind.__name__} is a ScriptModule"
        if parametrize.is_parametrized(part):
            kind = parametrize.type_before_parametrizations(part)
        if kind.__module__ == "__main__":
            return f"{kind.__name__} is defined in the script itself, which can't be imported"
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if type(tensor) not in (torch.Tensor, nn.Parameter, nn.Buffer):
            return f"{name} is a {type(tensor).__name__}"
        if tensor.numel() and not tensor.untyped_storage().nbytes():
            return f"{name} has no memory of its own, as under sharding"
    return ""
