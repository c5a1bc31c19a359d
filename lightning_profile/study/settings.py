"""What tells whether points belong to one study: all that their numbers depend on."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from lightning_profile.devices import describe_device
from lightning_profile.selection import select_layers
from lightning_profile.study.training import Training
from lightning_profile.version import __version__


def describe_training(training: Training) -> dict[str, Any]:
    """Model, layers, device and versions of a training.

    Raises:
        LayerSelectionError: If a layer does not exist.
        ValueError: If the training is none that a study can be made of.
    """
    profiler, trainer = training.profiler, training.trainer
    layers = select_layers(training.model, profiler.patterns).rows
    is_cpu = training.trainer.strategy.root_device.type == "cpu"
    # A GPU's name would take a context on it, and that memory is the trainings'.
    device = describe_device(torch.device("cpu"))
    return {
        "model": repr(training.model),
        "layers": [layer.qualified_name for layer in layers],
        "accelerator": type(trainer.accelerator).__name__,
        "cpu": device.name if is_cpu else None,
        "threads": device.threads,
        "torch": torch.__version__,
        "lightning_profile": __version__,
    }


def describe_callable(function: Callable[..., Any]) -> str:
    """A function, class or partial by name and arguments, the same in every process."""
    if isinstance(function, partial):
        parts = [describe_callable(function.func), *map(describe_value, function.args)]
        parts += [f"{name}={describe_value(each)}" for name, each in function.keywords.items()]
        return f"partial({', '.join(parts)})"
    name = getattr(function, "__qualname__", None)
    if name is None:
        return describe_value(function)
    # A program's own functions have another module in a process of its own.
    return f"{function.__module__}.{name}".removeprefix("__main__.")


def describe_value(value: object) -> str:
    """``value`` as Python shows it, without addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
