"""Profile a torchvision ResNet-18 that learns to tell the direction of stripes.

Shows the ways to name layers: by path, by glob, by type, and a container, whose row sums up what
runs inside of it.

    python examples/resnet.py
    tensorboard --logdir logs/resnet
"""

from __future__ import annotations

import argparse
import math
import os
import warnings

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes
warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning's, with the newest torch

import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18

from lightning_profile import LayerProfiler

LAYERS = ["net.conv1", "net.layer4.*.conv?", "BasicBlock", "Linear"]
DIRECTIONS, PIXELS = 4, 64


class StripesClassifier(LightningModule):
    """ResNet-18 with an output per direction."""

    def __init__(self) -> None:
        super().__init__()
        self.net = resnet18(num_classes=DIRECTIONS)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy of images and their labels."""
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy on images that were not trained on."""
        images, labels = batch
        hits = self.net(images).argmax(dim=1) == labels
        self.log("test/accuracy", hits.float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over all parameters."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Stripes(Dataset[tuple[Tensor, Tensor]]):
    """Noisy images of coloured stripes in one of four directions, each drawn from its index."""

    def __init__(self, indices: range) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = self.indices[position]
        random = torch.Generator().manual_seed(index)
        label = index % DIRECTIONS
        angle = math.pi * label / DIRECTIONS
        y, x = torch.meshgrid(torch.arange(PIXELS), torch.arange(PIXELS), indexing="ij")
        phase = 2 * math.pi * torch.rand(1, generator=random)
        wave = torch.sin(0.5 * (x * math.cos(angle) + y * math.sin(angle)) + phase)
        colour = torch.rand(3, 1, 1, generator=random) + 0.2
        noise = torch.randn(3, PIXELS, PIXELS, generator=random)
        return wave * colour + 0.5 * noise, torch.tensor(label)


def main() -> None:
    """Train with the profiler, then test."""
    parser = argparse.ArgumentParser(description="Profile a ResNet-18.")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30, help="per epoch")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--log_dir", default="logs")
    args = parser.parse_args()

    seed_everything(1)
    seen = args.steps * args.batch_size
    train = Stripes(range(seen))
    test = Stripes(range(seen, seen + 100))
    model = StripesClassifier()
    trainer = Trainer(
        max_epochs=args.epochs,
        callbacks=[LayerProfiler(layers=LAYERS)],
        logger=TensorBoardLogger(args.log_dir, name="resnet"),
        log_every_n_steps=5,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(train, args.batch_size, shuffle=True, num_workers=2))
    (metrics,) = trainer.test(model, DataLoader(test, 50, num_workers=2), verbose=False)
    print(f"Accuracy on new images: {metrics['test/accuracy']:.1%}")


if __name__ == "__main__":
    main()
