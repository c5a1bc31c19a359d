"""What the benchmarks train, on which data, and the clock of an epoch."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import Callback, LightningModule
from torch import Tensor

from lightning_profile import Schedule
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


class Clock(Callback):
    """When each batch of the epoch began, and when the epoch ended, in seconds."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.end = 0.0
        self._cpu_start = 0.0
        self.cpu_seconds = 0.0  # of the process, which other programs hardly change

    def on_train_batch_start(self, *_: Any) -> None:
        """Note the moment."""
        if not self.starts:
            self._cpu_start = time.process_time()
        self.starts.append(time.perf_counter())

    def on_train_epoch_end(self, *_: Any) -> None:
        """Note the moment at which the device is done, too."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.end = time.perf_counter()
        self.cpu_seconds = time.process_time() - self._cpu_start

    @property
    def seconds(self) -> float:
        """Of the epoch."""
        return self.end - self.starts[0]

    def window_share(self, plan: Schedule) -> float:
        """What the window took beyond as many other steps, over the rest of the epoch."""
        durations = [b - a for a, b in zip(self.starts, [*self.starts[1:], self.end], strict=True)]
        first, last = plan.wait, plan.steps + 1  # the step after it still pays for it
        inside, outside = durations[first:last], durations[:first] + durations[last:]
        extra = sum(inside) - len(inside) * statistics.median(outside)
        return extra / (self.seconds - extra)


def add_epoch_arguments(parser: argparse.ArgumentParser) -> None:
    """What an epoch is of, and which layers are profiled in it."""
    parser.add_argument("--model", choices=MODELS, default="mnist")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layers", nargs="+", default=["Conv2d-2"])
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=468)
