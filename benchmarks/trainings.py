"""What the benchmarks train, on which data and how, and the clock of its epochs."""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.mnist import MnistClassifier

IMAGES = {"mnist": (1, 28), "resnet50": (3, 64)}


class ResNet50(LightningModule):
    """torchvision's, on small images."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50  # noqa: PLC0415  (slow, and for this model only)

        self.net = resnet50(num_classes=10)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy."""
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


MODELS: dict[str, Callable[[], LightningModule]] = {"mnist": MnistClassifier, "resnet50": ResNet50}


class BatchesOnDevice:
    """Whole batches, in memory where the model is."""

    def __init__(self, model: str, device: str, steps: int, batch_size: int) -> None:
        channels, pixels = IMAGES[model]
        self._images = torch.randn(batch_size, channels, pixels, pixels, device=device)
        self._labels = torch.randint(0, 10, (batch_size,), device=device)
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Any:
        for _ in range(self._steps):
            yield self._images, self._labels


@dataclass
class Epoch:
    """When each batch began, and when the epoch ended, in seconds."""

    starts: list[float] = field(default_factory=list)
    end: float = 0.0
    cpu_seconds: float = 0.0  # of the process, which other programs hardly change

    @property
    def seconds(self) -> float:
        """Of all of it."""
        return self.end - self.starts[0]

    @property
    def steps_s(self) -> list[float]:
        """What each step took."""
        return [end - start for start, end in itertools.pairwise([*self.starts, self.end])]

    def window_extra_s(self, plan: Schedule) -> float:
        """What the window took beyond as many other steps."""
        steps_s = self.steps_s
        first, last = plan.wait, plan.steps + 1  # the step after it still pays for it
        inside, outside = steps_s[first:last], steps_s[:first] + steps_s[last:]
        return sum(inside) - len(inside) * statistics.median(outside)

    def window_share(self, plan: Schedule) -> float:
        """The same over the rest of the epoch."""
        extra_s = self.window_extra_s(plan)
        return extra_s / (self.seconds - extra_s)


class Clock(Callback):
    """Takes the times of every epoch of a training; first among its callbacks."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self._cpu_start = 0.0

    def on_train_batch_start(self, *args: Any) -> None:
        """Note the moment."""
        if args[-1] == 0:
            self.epochs.append(Epoch())
            self._cpu_start = time.process_time()
        self.epochs[-1].starts.append(time.perf_counter())

    def on_train_epoch_end(self, *_: Any) -> None:
        """Note the moment at which the device is done, too."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.epochs[-1].end = time.perf_counter()
        self.epochs[-1].cpu_seconds = time.process_time() - self._cpu_start


def fit(
    args: argparse.Namespace,
    folder: str,
    callbacks: Sequence[Callback],
    *,
    epochs: int,
    profiler: str | None = None,
) -> None:
    """Train a model for some epochs, and log to TensorBoard below ``folder``.

    Args:
        args: Model, device, steps of an epoch and batch size, as :func:`add_epoch_arguments` has.
        folder: Where all of it goes.
        callbacks: The trainer's.
        epochs: How many.
        profiler: The trainer's.
    """
    Trainer(
        max_epochs=epochs,
        accelerator="gpu" if args.device == "cuda" else "cpu",
        devices=1,
        callbacks=list(callbacks),
        logger=TensorBoardLogger(folder),
        profiler=profiler,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    ).fit(
        MODELS[args.model](), BatchesOnDevice(args.model, args.device, args.steps, args.batch_size)
    )


def profiled_epochs(profiler: LayerProfiler) -> set[int]:
    """The epochs that had a window."""
    assert profiler.folder is not None
    with (profiler.folder / "layer_profile.csv").open(encoding="utf-8", newline="") as file:
        return {int(row["epoch"]) for row in csv.DictReader(file)}


def add_epoch_arguments(parser: argparse.ArgumentParser) -> None:
    """What an epoch is of, and which layers are profiled in it."""
    parser.add_argument("--model", choices=MODELS, default="mnist")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layers", nargs="+", default=["Conv2d-2"])
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=468)
