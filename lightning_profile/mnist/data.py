"""The demo's data: MNIST, or handwritten digits where MNIST can't be had."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_profile.mnist import archives
from lightning_profile.mnist.digits import draw_digits
from lightning_profile.mnist.images import ImageTensors, as_fetched

TRAIN_SAMPLES, VAL_SAMPLES, TEST_SAMPLES = 55_000, 5_000, 10_000
# Mean and standard deviation of MNIST's training pixels, as in PyTorch's MNIST example.
_MEAN, _STD = 0.1307, 0.3081

_Loader = DataLoader[tuple[Tensor, Tensor]]


class DataError(Exception):
    """The data that was asked for can't be had; the message says what would help."""


class MnistDataModule(LightningDataModule):
    """MNIST as tensors in memory: 55,000 training, 5,000 validation and 10,000 test images.

    Args:
        batch_size: Images per step.
        data_dir: Where MNIST lies or is downloaded to (``MNIST/raw`` in it).
        dataset: ``mnist`` insists on it; ``digits`` takes scikit-learn's handwritten digits;
            ``auto`` takes MNIST, and the digits where it can't be had.

    Raises:
        ValueError: If ``batch_size`` is less than 1.
    """

    def __init__(
        self,
        batch_size: int = 128,
        data_dir: str = "data",
        dataset: Literal["auto", "mnist", "digits"] = "auto",
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1 image, not {batch_size}")
        self._batch_size = batch_size
        self._data_dir = Path(data_dir)
        self._dataset = dataset
        self._splits: dict[str, ImageTensors] = {}

    @property
    def dataset_name(self) -> str:
        """The data that is used, ``mnist`` or ``digits``; known once :meth:`setup` has run."""
        return self._splits["train"].name

    def prepare_data(self) -> None:
        """Download or unpack MNIST unless the digits are to be used.

        Raises:
            DataError: If a batch is larger than the training data, MNIST is asked for but can't be
                had, or what lies there is damaged.
        """
        if self._batch_size > TRAIN_SAMPLES:
            raise DataError(
                f"batch_size {self._batch_size} is larger than the training data "
                f"({TRAIN_SAMPLES} images)"
            )
        if self._dataset == "digits" or self._splits:
            return
        try:
            archives.provide(self._data_dir)
        except archives.DamagedArchiveError as error:
            raise DataError(str(error)) from error
        except archives.MnistUnavailableError as error:
            if self._dataset == "mnist":
                raise DataError(
                    f"MNIST is not in {self._data_dir / 'MNIST' / 'raw'} and {error}; put its four "
                    "archives there or use --dataset digits"
                ) from error
            print(
                f"MNIST is not in {self._data_dir / 'MNIST' / 'raw'} and {error}: "
                "training on scikit-learn's handwritten digits instead",
                flush=True,
            )
        except OSError as error:
            raise DataError(f"can't store MNIST in {self._data_dir}: {error.strerror}") from error

    def setup(self, stage: str) -> None:
        """Load the images into memory, once.

        Raises:
            DataError: If the unpacked files are damaged.
        """
        if self._splits:
            return
        use_mnist = self._dataset != "digits" and archives.is_unpacked(self._data_dir)
        self._splits = _mnist(self._data_dir) if use_mnist else _digits()

    def train_dataloader(self) -> _Loader:
        """Batches of training images in a new order every epoch."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> _Loader:
        """Batches of validation images."""
        return self._loader("val")

    def test_dataloader(self) -> _Loader:
        """Batches of test images."""
        return self._loader("test")

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Bytes N × 28 × 28 to normalised N × 1 × 28 × 28, on the device, in the model's type."""
        images, labels = batch
        dtype = torch.float32 if self.trainer is None else self.trainer.lightning_module.dtype
        return normalise(images).to(dtype), labels

    def _loader(self, split: str, *, shuffle: bool = False) -> _Loader:
        return DataLoader(
            self._splits[split],
            batch_size=self._batch_size,
            shuffle=shuffle,
            collate_fn=as_fetched,
            pin_memory=torch.cuda.is_available(),
        )


def normalise(images: Tensor) -> Tensor:
    """Bytes N × 28 × 28 to floats N × 1 × 28 × 28 with MNIST's mean and deviation taken out."""
    return images.unsqueeze(1).float().div_(255).sub_(_MEAN).div_(_STD)


def _mnist(data_dir: Path) -> dict[str, ImageTensors]:
    try:
        train, test = (archives.load(data_dir, train=train) for train in (True, False))
    except archives.DamagedArchiveError as error:
        raise DataError(str(error)) from error
    images = ImageTensors(train.data, train.targets, "mnist")
    return {
        "train": images.part(0, TRAIN_SAMPLES),
        "val": images.part(TRAIN_SAMPLES, TRAIN_SAMPLES + VAL_SAMPLES),
        "test": ImageTensors(test.data, test.targets, "mnist"),
    }


def _digits() -> dict[str, ImageTensors]:
    return {
        "train": draw_digits("train", TRAIN_SAMPLES),
        "val": draw_digits("val", VAL_SAMPLES),
        "test": draw_digits("test", TEST_SAMPLES),
    }
