"""What the callback needs to know of a Trainer; nothing here changes one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_profile.report import new_version

if TYPE_CHECKING:
    from pytorch_lightning import Trainer


def run_folder(trainer: Trainer, log_dir: str | None) -> Path | None:
    """Where the files go: a logger's own folder of this run, or else a new folder.

    Not every logger has a folder per run: ``trainer.log_dir`` is then one for all runs.
    """
    is_dry_run: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
    if is_dry_run:  # Lightning writes nothing then, and neither do we
        return None
    if log_dir is not None and hasattr(trainer.logger, "log_dir"):
        return Path(log_dir)
    parent = Path(trainer.default_root_dir) / "lightning_profile"
    if not trainer.loggers:
        warnings.warn(
            f"the training has no logger, so there are no charts; the layer profile is in {parent}",
            stacklevel=2,
        )
    return new_version(parent)


def has_profiler_of_its_own(trainer: Trainer) -> bool:
    """Whether the Trainer records with torch.profiler; by name, as Lightning has two packages."""
    profiler: object = trainer.profiler  # type: ignore[attr-defined]
    return any(kind.__name__ == "PyTorchProfiler" for kind in type(profiler).__mro__)


def steps_to_come(trainer: Trainer, first: int) -> float:
    """Batches that this epoch will train on, from the ``first``, as far as that is known."""
    steps = float(trainer.num_training_batches) - first
    if trainer.max_steps >= 0:
        left = trainer.max_steps - trainer.global_step
        steps = min(steps, left * trainer.accumulate_grad_batches)
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
