"""Windows become rarer where each costs memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.window_limits import Thinning
from tests.conftest import read_csv, train

pytestmark = pytest.mark.limits

_REASON = r"each of the 3 windows so far cost some 0.6 MiB of the GPU's memory, which CUDA keeps"


def epochs_with_windows(thinning: Thinning, stage: str, epochs: int) -> list[int]:
    taken = []
    for epoch in range(1, epochs + 1):
        thinning.epoch_begins(stage)
        if thinning.leaves_out(stage) is None:
            thinning.window_opens(stage)
            taken.append(epoch)
    return taken


def test_after_a_hundred_each_waits_for_a_twentieth_more_epochs() -> None:
    taken = epochs_with_windows(Thinning(), "train", 6000)
    assert taken[:104] == [*range(1, 101), 105, 111, 117, 123]
    assert [sum(epoch <= last for epoch in taken) for last in (600, 6000)] == [135, 182]


def test_the_hundred_are_of_all_stages_and_the_epochs_of_each() -> None:
    thinning = Thinning()
    assert len(epochs_with_windows(thinning, "train", 80)) == 80
    assert epochs_with_windows(thinning, "validate", 30)[:22] == [*range(1, 22), 23]


def test_epochs_without_a_window_of_another_reason_count() -> None:
    thinning = Thinning()
    for _ in range(99):
        thinning.epoch_begins("train")
        thinning.window_opens("train")
    for _ in range(101):
        thinning.epoch_begins("train")
    assert thinning.leaves_out("train") is None
    thinning.window_opens("train")  # the hundredth, in epoch 200
    for _ in range(9):
        thinning.epoch_begins("train")
        assert thinning.leaves_out("train") is not None
    thinning.epoch_begins("train")
    assert thinning.leaves_out("train") is None


@pytest.fixture
def _soon_and_where_each_costs_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_profile.stage_recorder.detaches_cupti", lambda device: True)
    monkeypatch.setattr("lightning_profile.stage_recorder.OF_PROCESS", Thinning())
    monkeypatch.setattr("lightning_profile.window_limits.thinning._IN_A_ROW", 2)
    monkeypatch.setattr("lightning_profile.window_limits.thinning._LONGER", 1.5)


def epochs_with_rows(folder: Path) -> list[int]:
    return list(dict.fromkeys(int(row["epoch"]) for row in read_csv(folder)))


@pytest.mark.usefixtures("_soon_and_where_each_costs_memory")
def test_a_training_leaves_epochs_out_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=rf"^{_REASON}.*: this epoch, and") as warned:
        train(tmp_path, LayerProfiler("Conv2d-2", Schedule(wait=1, max_share=1.0)), max_epochs=8)
    assert epochs_with_rows(tmp_path) == [0, 1, 2, 4, 7]
    assert len([each for each in warned if "0.6 MiB" in str(each.message)]) == 1


@pytest.mark.usefixtures("_soon_and_where_each_costs_memory")
def test_without_a_share_each_epoch_has_a_window(tmp_path: Path) -> None:
    train(tmp_path, LayerProfiler("Conv2d-2", Schedule(wait=1, max_share=None)), max_epochs=5)
    assert epochs_with_rows(tmp_path) == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("_soon_and_where_each_costs_memory")
def test_the_next_training_of_the_process_goes_on_and_has_one_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_profile.window_limits.thinning._LONGER", 10)
    profiler = LayerProfiler("Conv2d-2", Schedule(wait=1, max_share=1.0))
    for number, epochs in enumerate(([0, 1], [0])):
        with pytest.warns(UserWarning, match="^each of the . windows so far cost"):
            train(tmp_path / str(number), profiler, max_epochs=4)
        assert epochs_with_rows(tmp_path / str(number)) == epochs
