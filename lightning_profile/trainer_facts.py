"""What the callback needs to know of a Trainer; nothing here changes one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lightning_profile.measurement import Invocation, invocation
from lightning_profile.records import Layer

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer


def has_graph_without_wrapper(layers: Sequence[Layer]) -> bool:
    """Whether layers were compiled in place, or with the whole model: no call can be seen."""
    wrapped = {
        id(part)
        for layer in layers
        if layer.entry is not layer.module
        for part in layer.module.modules()
    }
    return any(layer.in_compiled_graph and id(layer.module) not in wrapped for layer in layers)


def step_invocation(
    model: LightningModule, method: str, batch: object, batch_idx: int
) -> Invocation:
    """The call of ``training_step`` or ``validation_step`` that is about to come."""
    takes_index = len(inspect.signature(getattr(type(model), method)).parameters) > 2
    made = invocation(model, method, (batch, batch_idx) if takes_index else (batch,), {})
    precision = model.trainer.precision_plugin
    return replace(made, context=precision.forward_context)


def steps_to_come(trainer: Trainer, first: int) -> float:
    """Batches that this epoch will train on, from the ``first``, as far as that is known."""
    steps = float(trainer.num_training_batches) - first
    if trainer.max_steps >= 0:
        left = trainer.max_steps - trainer.global_step  # in optimizer steps
        if trainer.lightning_module.automatic_optimization:
            left *= trainer.accumulate_grad_batches
        else:  # as many as there are optimizers in a batch, in all likelihood
            left = math.ceil(left / max(1, len(trainer.optimizers)))
        steps = min(steps, left)
    return max(1, steps)


def dataset_name(trainer: Trainer, stage: str) -> str | None:
    """The data's own name if it has one, otherwise its class name."""
    loaders = trainer.train_dataloader if stage == "train" else trainer.val_dataloaders
    loader = loaders[0] if isinstance(loaders, (list, tuple)) and loaders else loaders
    dataset = getattr(loader, "dataset", None)
    if dataset is None:
        return None
    name = getattr(dataset, "name", None)
    return name if isinstance(name, str) else type(dataset).__name__
