"""Faults that only a GPU has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import profile

from lightning_profile.measurement import is_profiler_running
from tests.conftest import SmallCnn, read_csv, train
from tests.faults.test_exceptions import STEPS
from tests.faults.test_exceptions import profiler as early_profiler
from tests.faults.test_other_profilers import Theirs, profiler

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Warning. Profiler clears events"),
]

ON_GPU: dict[str, Any] = {"accelerator": "gpu", "devices": 1}


@pytest.mark.parametrize("when", STEPS)
def test_running_out_of_memory_is_the_trainings_own_error(tmp_path: Path, when: str) -> None:
    class Greedy(SmallCnn):
        def forward(self, images: Tensor) -> Tensor:
            if self.trainer.fit_loop.epoch_loop.batch_idx == STEPS[when] and self.current_epoch:
                images = images + torch.empty(2**44, device=self.device)[0]
            return super().forward(images)

    model = Greedy()
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        train(tmp_path / "run", early_profiler(), model=lambda: model, max_epochs=2, **ON_GPU)
    epochs = {row["epoch"] for row in read_csv(tmp_path / "run")}
    assert epochs == ({"0", "1"} if when == "after" else {"0"})
    assert not is_profiler_running()
    assert not model.conv2._forward_hooks
    train(tmp_path / "after", early_profiler(), **ON_GPU)
    for row in read_csv(tmp_path / "after"):
        assert int(row["device_time_ns"]) > 0


def kernels(finished: Any) -> int:
    """How many convolution kernels of the forward a profiler has seen on the device."""
    return sum(
        1
        for event in finished.events()
        if event.name == "aten::conv2d" and event.device_time_total > 0
    )


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize(
    ("first", "last", "is_kept"),
    [(0, 2, True), (1, 3, False), (3, 6, False), (4, 4, False), (4, 6, False), (5, 6, True)],
)
def test_another_profiler_of_the_gpu_sees_all_that_it_would_have_seen(
    tmp_path: Path, ours_first: bool, first: int, last: int, is_kept: bool
) -> None:
    theirs = Theirs(profile, first, last, kernels)
    callbacks = [profiler(), theirs] if ours_first else [theirs, profiler()]
    if is_kept:
        train(tmp_path, *callbacks, max_epochs=2, **ON_GPU)
        rows = read_csv(tmp_path)
        assert {row["epoch"] for row in rows} == {"0", "1"}
        for row in rows:
            assert int(row["device_time_ns"]) > 0
    else:
        with pytest.warns(UserWarning, match=r"torch\.profiler (is|was)"):
            train(tmp_path, *callbacks, max_epochs=2, **ON_GPU)
        assert not list(tmp_path.rglob("layer_profile.csv"))
    assert theirs.seen == [2 * (last - first + 1)] * 2
    assert not is_profiler_running()


def test_a_gpu_that_delivers_no_events_is_said_not_counted_as_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under Nsight, which has the GPU's events for itself."""
    real = torch.profiler.profiler._KinetoProfile

    def without_gpu(activities: list[Any], **options: Any) -> Any:
        return real(activities=activities[:1], **options)

    monkeypatch.setattr("lightning_profile.measurement.window._KinetoProfile", without_gpu)
    train(tmp_path, profiler(), **ON_GPU)
    for row in read_csv(tmp_path):
        assert row["device_time_ns"] == row["kernels"] == ""
        assert "device time unknown" in row["note"]
        assert row["counted_flop"] == row["theoretical_flop"] != ""
