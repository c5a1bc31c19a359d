"""Everything that a training computes, kept so that two of them can be compared bit for bit."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor


class Witness(Callback):
    """Takes down each step of a training, without drawing a random number itself.

    Attributes:
        steps: After each batch: what the step returned, metrics, gradients, generators.
    """

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        gradients = {name: each.grad for name, each in pl_module.named_parameters()}
        metrics = dict(trainer.callback_metrics)
        self.steps.append(copy.deepcopy([outputs, metrics, gradients, generators()]))

    def account(self, model: LightningModule, trainer: Trainer) -> dict[str, Any]:
        """All there is to compare once ``fit`` has returned."""
        weights = model.state_dict()
        return {
            "steps": self.steps,
            "names in state_dict": list(weights),
            "weights": dict(weights),
            "optimizers": [each.state_dict() for each in trainer.optimizers],
            "loss scale": trainer.precision_plugin.state_dict(),
            "generators": generators(),
            "global step": trainer.global_step,
            "events of the user's hooks": getattr(model, "events", None),
        }


def generators() -> list[Any]:
    """The state of every random-number generator."""
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), on_gpus, np.random.get_state(), random.getstate()]  # noqa: NPY002


def differences(one: object, other: object) -> list[str]:
    """Where two values differ in type, layout, order or a single bit."""
    left, right = dict(_fingerprints(one)), dict(_fingerprints(other))
    return [where for where in left | right if left.get(where) != right.get(where)]


def _fingerprints(value: object, where: str = "") -> Iterator[tuple[str, object]]:
    """What tells a value, and each one inside of it, from any other."""
    if isinstance(value, Tensor):
        yield where, fingerprint(value)
    elif isinstance(value, np.ndarray):
        yield where, (value.shape, value.dtype, value.tobytes())
    elif isinstance(value, Mapping):
        yield where, (type(value), list(value))
        for key, each in value.items():
            yield from _fingerprints(each, f"{where}/{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield where, (type(value), len(value))
        for number, each in enumerate(value):
            yield from _fingerprints(each, f"{where}/{number}")
    else:
        yield where, (type(value), repr(value))  # of a number, all of its digits


def fingerprint(tensor: Tensor) -> tuple[object, ...]:
    """Its numbers as bytes, in which NaN equals itself and 0 differs from -0, and their layout."""
    content = tensor.detach().reshape(-1).contiguous().view(torch.uint8).cpu().numpy().tobytes()
    layout = (tuple(tensor.shape), tensor.stride(), str(tensor.dtype), str(tensor.device))
    return *layout, content
