"""With and without the callback, on a GPU with deterministic kernels: the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_profile import LayerProfiler
from tests.conftest import read_csv, train
from tests.trainings.rows import SCHEDULE
from tests.trainings.test_ddp import accounts, train_together
from tests.trainings.test_passes import Model
from tests.trainings.untouched import CASES, ON_GPU_ONLY, Case, as_parameters, changes
from tests.trainings.witness import differences

pytestmark = pytest.mark.gpu

ON_GPU: dict[str, Any] = {"accelerator": "gpu", "devices": 1}


@pytest.fixture
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    yield
    torch.use_deterministic_algorithms(mode=False)


@pytest.mark.usefixtures("_deterministic")
@pytest.mark.parametrize("case", as_parameters(CASES | ON_GPU_ONLY))
def test_the_training_is_the_same(tmp_path: Path, case: Case) -> None:
    assert changes(tmp_path, case, deterministic=True, **ON_GPU) == []


def test_two_gpus_compute_the_same(tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    for mode in ("bare", "all"):
        train_together(tmp_path / mode, mode, "gpu")
    assert differences(accounts(tmp_path / "bare"), accounts(tmp_path / "all")) == []


class Ranged(Model):
    """Its user marks steps and layers for Nsight, and notes how deep the marks are nested."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, int]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.push("step")
        loss = super().training_step(batch, batch_idx)
        self.pop("step")
        return loss

    def forward(self, images: Tensor) -> Tensor:
        self.push("forward")
        logits = super().forward(images)
        self.pop("forward")
        return logits

    def push(self, name: str) -> None:
        self.events.append((f"push {name}", torch.cuda.nvtx.range_push(name)))

    def pop(self, name: str) -> None:
        self.events.append((f"pop {name}", torch.cuda.nvtx.range_pop()))


def test_the_users_nvtx_ranges_are_as_deep_as_before(tmp_path: Path) -> None:
    bare, _ = train(tmp_path / "bare", model=Ranged, **ON_GPU)
    callback = LayerProfiler("all", SCHEDULE)
    profiled, _ = train(tmp_path / "profiled", callback, model=Ranged, **ON_GPU)
    assert read_csv(tmp_path / "profiled")
    assert len(bare.events) == 8 * 4
    assert profiled.events == bare.events
