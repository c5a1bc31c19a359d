"""Calls inside of a compiled graph, inferred from its arguments.

Hooks don't run inside of a graph of ``torch.compile``, so what its layers were called with can't
be seen. The forward is therefore repeated once, after the window, on a copy of the module whose
tensors have shapes but no data, not compiled and with the hooks on. That computes nothing and
touches nothing of the training: no weights, no buffers, no random numbers.
"""

from __future__ import annotations

import contextlib
import copy
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lightning_profile.faults import describe_fault
from lightning_profile.measurement.calls import CallRecorder
from lightning_profile.measurement.invocations import Invocation, with_fake_tensors
from lightning_profile.records import Call, Layer

# Methods that Lightning replaces on a compiled model by compiled ones.
_COMPILED_METHODS = ("forward", "training_step", "validation_step")


@dataclass(frozen=True, slots=True)
class InferredCalls:
    """Calls of layers inside of compiled graphs in one step, or why there are none."""

    calls: tuple[Call, ...] = ()
    fault: str = ""


def infer_calls(invocations: Sequence[Invocation], layers: Sequence[Layer]) -> InferredCalls:
    """Repeat ``invocations`` without data.

    Args:
        invocations: Calls into compiled graphs in one step.
        layers: The layers in those graphs.
    """
    calls: list[Call] = []
    try:
        for invocation in invocations:
            calls += _repeat(invocation, layers)
    except Exception as fault:
        return InferredCalls(fault=describe_fault(fault))
    return InferredCalls(calls=tuple(calls))


def _repeat(invocation: Invocation, layers: Sequence[Layer]) -> list[Call]:
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
    copies: dict[int, Any] = {
        id(tensor): fake_mode.from_tensor(tensor)
        for tensor in (*invocation.module.parameters(), *invocation.module.buffers())
    }
    for name in ("_trainer", "_fabric"):  # a model's way back to its trainer, which isn't copied
        copies[id(vars(invocation.module).get(name))] = None
    module = _uncompiled(copy.deepcopy(invocation.module, copies))
    inside = {id(part) for part in invocation.module.modules()}
    recorder = CallRecorder(
        [
            replace(layer, module=twin, entry=twin, in_compiled_graph=False)
            for layer in layers
            if id(layer.module) in inside and (twin := copies[id(layer.module)]) is not None
        ]
    )
    recorder.step = 0
    recorder.attach()
    with (
        warnings.catch_warnings(),
        fake_mode,
        _same_random_numbers_after(),
        torch.set_grad_enabled(invocation.has_gradients),
        invocation.context(),
    ):
        warnings.simplefilter("ignore")  # a copy without a trainer can't log
        args, kwargs = with_fake_tensors(invocation.arguments)
        getattr(module, invocation.method)(*args, **kwargs)
    recorder.detach()
    if recorder.fault is not None:
        raise recorder.fault
    return [call for call in recorder.calls if call is not None]


@contextlib.contextmanager
def _same_random_numbers_after() -> Iterator[None]:
    """Put back Python's and NumPy's generators, which a forward may use; fake tensors use none."""
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)


def _uncompiled(module: nn.Module) -> nn.Module:
    """Undo every compilation in a copy, and drop the hooks, which may reach what isn't copied."""
    for part in list(module.modules()):
        part._compiled_call_impl = None
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
        for name, child in part._modules.items():
            if child is not None and "_orig_mod" in child._modules:
                part._modules[name] = child._modules["_orig_mod"]
    for name in _COMPILED_METHODS:
        vars(module).pop(name, None)
    return module
