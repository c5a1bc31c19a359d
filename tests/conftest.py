"""Real trainings, small enough to run many of them."""

from __future__ import annotations

import os
import tempfile

# Before torch is imported: libkineto and the CPU allocator write to stderr at every window.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
# Programs that the tests start measure the device, and must not do so for the user's trainings.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="lightning_profile-tests-")

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_profile.records import ARITHMETIC_KINDS, Ceilings
from tests.skips import pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]  # hooks of pytest

MNIST_DIR = Path(__file__).parent.parent / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where to keep what the browser's tests saw."""
    parser.addoption("--screenshots", metavar="DIR", help="keep screenshots of TensorBoard in DIR")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine can't run, and say why."""
    has_mnist = (MNIST_DIR / "MNIST/raw/train-images-idx3-ubyte.gz").exists()
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))
        if item.get_closest_marker("mnist") and not has_mnist:
            item.add_marker(pytest.mark.skip(reason="needs MNIST's archives in data/MNIST/raw"))


@pytest.fixture(autouse=True)
def _steady_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of an imaginary device: what this one reaches depends on what else it does."""
    ceilings = Ceilings(
        flop_per_s=dict.fromkeys(ARITHMETIC_KINDS, 1e15), bytes_per_s=1e15, source="measured: not"
    )
    monkeypatch.setattr("lightning_profile.device_limits.measured_ceilings", lambda _: ceilings)


@pytest.fixture(autouse=True)
def _without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where matplotlib is not installed: another process would draw for a second or two."""
    if request.node.get_closest_marker("pictures") is None:
        monkeypatch.setattr("lightning_profile.report.run_report._DRAWN_WITH", "no_such_package")


@pytest.fixture(autouse=True)
def _always_a_window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In epochs of milliseconds, and in a process that trains a hundred times on a GPU."""
    if request.node.get_closest_marker("limits") is None:
        monkeypatch.setattr("lightning_profile.window_limits.time_budget._ALWAYS_S", math.inf)
        monkeypatch.setattr("lightning_profile.window_limits.thinning._IN_A_ROW", math.inf)


class SmallCnn(LightningModule):
    """Like the example, at a size that trains in milliseconds; ``unused`` is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.conv2 = nn.Conv2d(4, 8, 3, padding=1)
        self.unused = nn.Conv2d(1, 1, 1)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 25, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.conv1(images), inplace=True)
        hidden = F.relu(self.norm(self.conv2(hidden)))
        return self.fc(F.max_pool2d(hidden, 2).flatten(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        used = [p for name, p in self.named_parameters() if not name.startswith("unused")]
        return torch.optim.Adam(used, lr=1e-3)


def small_data(samples: int = 64, batch_size: int = 8, *, shuffle: bool = True) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(samples, 1, 12, 12, generator=generator)
    labels = torch.randint(0, 10, (samples,), generator=generator)
    return DataLoader(TensorDataset(images, labels), batch_size=batch_size, shuffle=shuffle)


class ValidatedCnn(SmallCnn):
    """The same with a validation after each epoch."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])

    def val_dataloader(self) -> DataLoader[Any]:
        return small_data(shuffle=False)


def train(
    folder: Path,
    *callbacks: Any,
    model: Callable[[], LightningModule] = SmallCnn,
    **options: Any,
) -> tuple[LightningModule, Trainer]:
    """Train what ``model`` makes, for real; returns it and its trainer."""
    seed_everything(1)
    module = model()
    data = options.pop("data") if "data" in options else small_data()
    settings = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": TensorBoardLogger(folder, name="runs"),
        "callbacks": list(callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": folder,
    }
    checkpoint = options.pop("checkpoint", None)
    trainer = Trainer(**(settings | options))
    trainer.fit(module, data, ckpt_path=checkpoint)
    return module, trainer


def read_csv(folder: Path) -> list[dict[str, str]]:
    """The layers' rows."""
    return [row for row in read_all_rows(folder) if row["qualified_name"]]


def read_rest(folder: Path) -> list[dict[str, str]]:
    """The rows of what belongs to no layer."""
    return [row for row in read_all_rows(folder) if row["layer"] == "rest-of-step"]


def read_all_rows(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.rglob("layer_profile.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_json(folder: Path) -> dict[str, Any]:
    """The run's line, with its windows."""
    (path,) = folder.rglob("layer_profile.jsonl")
    return as_document(path)


def as_document(path: Path) -> dict[str, Any]:
    run, *windows = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    return run | {"windows": windows}
