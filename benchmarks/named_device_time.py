"""How much of a step's device time is on rows with a name, and what is left, by operator.

    python benchmarks/named_device_time.py --precision bf16-mixed

Trains ResNet-50 and a small transformer with ``layers="all"``. Needs an NVIDIA GPU.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes

import torch
from one_window import record_window
from pytorch_lightning import LightningModule
from torch import Tensor, nn, optim
from torch.nn import functional
from torchvision.models import resnet50

from lightning_profile import LayerProfiler, Schedule

CLASSES, WIDTH, LENGTH = 10, 512, 256
OPERATORS_SHOWN = 6


class ImageModel(LightningModule):
    """torchvision's ResNet-50."""

    def __init__(self) -> None:
        super().__init__()
        self.net = resnet50(num_classes=CLASSES)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy."""
        return functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> optim.Optimizer:
        """AdamW."""
        return optim.AdamW(self.parameters(), lr=1e-4)


class TextModel(ImageModel):
    """Four encoder layers of torch, on sequences of vectors."""

    def __init__(self) -> None:
        LightningModule.__init__(self)
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=8, batch_first=True)
        encoder = nn.TransformerEncoder(layer, num_layers=4, enable_nested_tensor=False)
        self.net = nn.Sequential(encoder, nn.Linear(WIDTH, CLASSES))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy of a class per position."""
        return functional.cross_entropy(self.net(batch[0]).flatten(0, 1), batch[1])


def images(batch_size: int) -> tuple[Tensor, Tensor]:
    """Images and classes."""
    return torch.randn(batch_size, 3, 224, 224), torch.randint(CLASSES, (batch_size,))


def sequences(batch_size: int) -> tuple[Tensor, Tensor]:
    """Sequences, and a class per position."""
    return torch.randn(batch_size, LENGTH, WIDTH), torch.randint(CLASSES, (batch_size * LENGTH,))


MODELS: dict[str, tuple[Callable[[], LightningModule], Callable[[int], Any]]] = {
    "ResNet-50": (ImageModel, images),
    "transformer": (TextModel, sequences),
}


def rows_of_a_step(model: str, precision: str, batch_size: int) -> list[dict[str, Any]]:
    """Each row of the recorded step, as in layer_profile.jsonl."""
    make_model, make_batch = MODELS[model]
    batch = tuple(part.cuda() for part in make_batch(batch_size))
    schedule = Schedule(wait=5)
    profiler = LayerProfiler("all", schedule)
    return list(record_window(make_model(), batch, profiler, schedule, precision)["steps"])


def main() -> None:
    """Print a paragraph for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--batch_size", type=int, default=64)
    args = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {args.precision}")
    for model in MODELS:
        rows = rows_of_a_step(model, args.precision, args.batch_size)
        named = sum(row["own"]["device_time_ns"] for row in rows if row["layer"] is not None)
        (optimizer,) = [row for row in rows if row["is_optimizer"]]
        (rest,) = [row for row in rows if row["layer"] is None and not row["is_optimizer"]]
        left = rest["own"]["device_time_ns"]
        print(
            f"{model}, batch {args.batch_size}: {len(rows)} rows; of the device time of forward "
            f"and backward, {(named + left) / 1e6:.3f} ms, {named / (named + left):.2%} is on "
            f"named rows; optimizer {optimizer['own']['device_time_ns'] / 1e6:.3f} ms; left over:"
        )
        uses = sorted(rest["operators"], key=lambda use: -(use["device_time_ns"] or 0))
        for use in uses[:OPERATORS_SHOWN]:
            print(f"  {use['name']}: {use['count']} ×, {(use['device_time_ns'] or 0) / 1e3:.1f} µs")


if __name__ == "__main__":
    main()
