"""PyTorch's basic MNIST CNN as a LightningModule."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from pytorch_lightning import LightningModule
from torch import Tensor, nn, optim
from torchmetrics.classification import MulticlassAccuracy

_CLASSES = 10


class MnistClassifier(LightningModule):
    """Two 3×3 convolutions (``Conv2d-1``: 1→32, ``Conv2d-2``: 32→64) and two linear layers.

    Args:
        learning_rate: Step size of Adam.

    Raises:
        ValueError: If ``learning_rate`` is negative or no number of 32 bits.
    """

    def __init__(self, learning_rate: float = 1e-3) -> None:
        super().__init__()
        if not 0 <= learning_rate <= torch.finfo(torch.float32).max:
            raise ValueError(f"learning_rate must be a number from 0 on, not {learning_rate}")
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, _CLASSES)
        self.train_accuracy = MulticlassAccuracy(_CLASSES, average="micro")
        self.val_accuracy = MulticlassAccuracy(_CLASSES, average="micro")
        self.test_accuracy = MulticlassAccuracy(_CLASSES, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N × 10) of normalised ``images`` (N × 1 × 28 × 28)."""
        x = F.relu(self.conv1(images))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x).flatten(1)
        x = F.relu(self.fc1(x))
        logits: Tensor = self.fc2(self.dropout2(x))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy of a batch of images and labels."""
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        self.train_accuracy.update(logits, labels)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Accuracy over the epoch's batches; logged once, since every log costs a step time."""
        self.log("train/accuracy", self.train_accuracy)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy on held-out training images."""
        images, labels = batch
        self.val_accuracy.update(self(images), labels)
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy on the test images."""
        images, labels = batch
        self.test_accuracy.update(self(images), labels)
        self.log("test/accuracy", self.test_accuracy)

    def configure_optimizers(self) -> optim.Optimizer:
        """Adam over all parameters."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)
