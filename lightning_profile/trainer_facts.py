"""What the callback needs to know of a Trainer; nothing here changes one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytorch_lightning import Trainer


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
