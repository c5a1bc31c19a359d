"""The models of the recordings, and a batch for each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from lightning_profile.mnist import MnistClassifier


class ResidualBlock(nn.Module):
    """A block of ResNet-18 that halves the image, after a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        shortcut = nn.Sequential(nn.Conv2d(64, 128, 1, stride=2, bias=False), nn.BatchNorm2d(128))
        self.block = BasicBlock(64, 128, stride=2, downsample=shortcut)
        self.head = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.block(self.stem(images)).mean((2, 3)))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mnist": MnistClassifier,
    "resnet_block": ResidualBlock,
}
SHAPES = {"mnist": (128, 1, 28, 28), "resnet_block": (32, 3, 32, 32)}


def batch_of(model: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images and labels."""
    shape = SHAPES[model]
    return torch.randn(shape, device=device), torch.zeros(shape[0], dtype=torch.long, device=device)
