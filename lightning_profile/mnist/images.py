"""Images held as tensors and fetched by whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset


class ImageTensors(Dataset[tuple[Tensor, Tensor]]):
    """A dataset that lives in memory.

    Per-image access costs several times a training step of the example, so a data loader gets
    each batch by one indexing (``__getitems__``), with :func:`as_fetched` as its ``collate_fn``.

    Args:
        images: Bytes, N × 28 × 28.
        labels: Classes, N.
        name: The data's name in every result.
    """

    def __init__(self, images: Tensor, labels: Tensor, name: str) -> None:
        self.images = images
        self.labels = labels
        self.name = name

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        positions = torch.tensor(indices)
        return self.images[positions], self.labels[positions]

    def part(self, start: int, stop: int) -> ImageTensors:
        """The images from ``start`` to before ``stop``, sharing their memory."""
        return ImageTensors(self.images[start:stop], self.labels[start:stop], self.name)


def as_fetched(batch: Any) -> Any:
    """The batch as ``__getitems__`` made it."""
    return batch
