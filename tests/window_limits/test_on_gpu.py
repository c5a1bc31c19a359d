"""Windows' limits where there is a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from lightning_profile import LayerProfiler, Schedule
from tests.conftest import read_csv, train

pytestmark = [pytest.mark.gpu, pytest.mark.limits]


class Behind(Callback):
    """Gives the device more to do than the host waits for: a second before a step, and in it."""

    def on_train_batch_start(self, *_: Any) -> None:
        torch.cuda._sleep(2_000_000_000)  # cycles, of at most 2 GHz

    def on_before_backward(self, *_: Any) -> None:
        torch.cuda._sleep(2_000_000_000)


def test_what_the_device_has_yet_to_do_is_not_a_windows_time(tmp_path: Path) -> None:
    """CUPTI's attaching waits for it, and so does the window's end."""
    profiler = LayerProfiler("Conv2d-2", Schedule(wait=1), figures=False)
    on_gpu = {"accelerator": "gpu", "devices": 1, "limit_train_batches": 3}
    train(tmp_path, Behind(), profiler, max_epochs=1, **on_gpu)
    assert {row["epoch"] for row in read_csv(tmp_path)} == {"0"}
    budget = profiler._train.budget
    assert budget._waited_s > 1.5
    assert budget._spent_s < 0.5 * budget._waited_s
