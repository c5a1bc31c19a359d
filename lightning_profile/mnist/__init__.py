"""The demo: PyTorch's basic MNIST CNN and its data. It knows nothing of profiling."""

from lightning_profile.mnist.data import DataError, MnistDataModule
from lightning_profile.mnist.model import MnistClassifier

__all__ = ["DataError", "MnistClassifier", "MnistDataModule"]
