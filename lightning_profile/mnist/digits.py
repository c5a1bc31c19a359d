"""A stand-in for MNIST on a bare machine: scikit-learn's handwritten digits at MNIST's size.

The 1,797 images of 8×8 are split into training, validation and test images first; each part is
then drawn from with replacement, and every drawn image is turned, shifted and scaled a little.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from sklearn.datasets import load_digits
from torch import Tensor

from lightning_profile.mnist.images import ImageTensors

NAME = "digits"

_SIZE = 28
_BLOCK = 8192  # images varied at a time, for the sake of memory
_SPLITS = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}
_MAX_TURN_RAD = math.radians(8)
_MAX_SHIFT = 0.08  # of half the image
_MAX_SCALING = 0.08


def draw_digits(split: str, samples: int) -> ImageTensors:
    """Draw an MNIST-like set; the same one every time.

    Args:
        split: ``train``, ``val`` or ``test``; no source image is in two of them.
        samples: How many images to draw.
    """
    generator = torch.Generator().manual_seed(list(_SPLITS).index(split))
    sources, labels = _sources(split)
    drawn = torch.randint(len(sources), (samples,), generator=generator)
    images = [_vary(sources[block], generator) for block in torch.split(drawn, _BLOCK)]
    return ImageTensors(torch.cat(images), labels[drawn], NAME)


def _sources(split: str) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] at 28×28, and their labels."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    start, stop = (round(share * len(order)) for share in _SPLITS[split])
    chosen = order[start:stop]
    images = torch.from_numpy(digits.images).float()[chosen, None] / 16
    labels = torch.from_numpy(digits.target)[chosen]
    return F.interpolate(images, size=_SIZE, mode="bilinear"), labels


def _vary(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, shift and scale each of ``images`` (N × 1 × 28 × 28) at random; bytes N × 28 × 28."""

    def uniform(limit: float) -> Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * limit

    turn, scale = uniform(_MAX_TURN_RAD), 1 + uniform(_MAX_SCALING)
    cosine, sine = turn.cos() * scale, turn.sin() * scale
    transform = torch.stack(
        [cosine, -sine, uniform(_MAX_SHIFT), sine, cosine, uniform(_MAX_SHIFT)], dim=1
    ).view(-1, 2, 3)
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    varied = F.grid_sample(images, grid, align_corners=False)
    return (varied.squeeze(1) * 255).round().to(torch.uint8)
