"""What a formula may know of a call: shapes, types, who needs a gradient, plain arguments."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lightning_profile.measurement.tensors import tensors_in
from lightning_profile.records import ParameterFact, TensorFact

Option = tuple[str, str | int | float | bool | None]

# How torch.nn.utils stores what a weight is computed from: parametrizations.weight.original0
# (parametrize), and weight_g, weight_v (weight_norm) or weight_orig (spectral_norm) of old.
_PARAMETRIZED = re.compile(r"^(.*?)parametrizations\.(\w+)\.original\d*$")
_COMPUTED_FROM = re.compile(r"^(\w+)_(?:g|v|orig)$")


class Arguments:
    """Names the arguments of a module's forward by its signature."""

    def __init__(self, module: nn.Module) -> None:
        self._signature = inspect.signature(module.forward)

    def facts(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[TensorFact, ...], tuple[Option, ...]]:
        """Tensors and plain values among the arguments, defaults included, in order."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:  # the forward itself will complain
            arguments = {"": (args, kwargs)}
        else:
            bound.apply_defaults()
            arguments = bound.arguments
        is_grad_enabled = torch.is_grad_enabled()
        tensors: list[TensorFact] = []
        options: list[Option] = []
        for name, value in arguments.items():
            if value is None or isinstance(value, (str, int, float)):
                options.append((name, value))
            else:
                tensors += [
                    _fact(name, each, is_grad_enabled)
                    for each in tensors_in(value)
                    if _has_sizes(each)
                ]
        return tuple(tensors), tuple(options)


def output_facts(output: object) -> tuple[TensorFact, ...]:
    """Every tensor in what a forward returned."""
    return tuple(_fact("", each, True) for each in tensors_in(output) if _has_sizes(each))


def parameter_facts(module: nn.Module) -> tuple[ParameterFact, ...]:
    """The parameters of ``module`` and their roles, without computing a parametrized weight."""
    return tuple(
        _parameter_fact(
            name,
            tuple(parameter.shape),
            parameter.dtype,
            parameter.requires_grad,
            _role(module, name),
        )
        for name, parameter in module.named_parameters()
    )


def _role(module: nn.Module, name: str) -> str:
    parametrized = _PARAMETRIZED.match(name)
    if parametrized:
        return parametrized[1] + parametrized[2]
    computed_from = _COMPUTED_FROM.match(name)
    if computed_from and computed_from[1] in vars(module):  # a tensor, no parameter
        return computed_from[1]
    return name


def _has_sizes(tensor: torch.Tensor) -> bool:
    """Whether the sizes are known: a nested tensor has none, and of vmap's not all are shown."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return False
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return not tensor.is_nested


def _fact(name: str, tensor: torch.Tensor, is_grad_enabled: bool) -> TensorFact:
    requires_grad = is_grad_enabled and tensor.requires_grad
    return _tensor_fact(name, tuple(tensor.shape), tensor.dtype, requires_grad, tensor.is_leaf)


# The facts of one window are mostly those of the window before. What is the same object is
# compared at once, which the look-up of known theory does with all of them.


@functools.lru_cache(maxsize=4096)
def _tensor_fact(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, requires_grad: bool, is_leaf: bool
) -> TensorFact:
    return TensorFact(
        name=name, shape=shape, dtype=dtype, requires_grad=requires_grad, is_leaf=is_leaf
    )


@functools.lru_cache(maxsize=4096)
def _parameter_fact(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, requires_grad: bool, role: str
) -> ParameterFact:
    return ParameterFact(
        name=name, shape=shape, dtype=dtype, requires_grad=requires_grad, is_leaf=True, role=role
    )
