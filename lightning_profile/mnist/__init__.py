"""The demo: PyTorch's basic MNIST CNN, its data and its console. It knows nothing of profiling."""

from lightning_profile.mnist.data import TRAIN_SAMPLES, DataError, MnistDataModule
from lightning_profile.mnist.model import MnistClassifier

__all__ = ["TRAIN_SAMPLES", "DataError", "MnistClassifier", "MnistDataModule"]
