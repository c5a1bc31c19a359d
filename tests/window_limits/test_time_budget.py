"""What windows may take of a training's time."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.measurement import Recording, Window
from lightning_profile.stage_recorder import StageRecorder
from lightning_profile.window_limits import TimeBudget
from tests.conftest import ValidatedCnn, read_csv, train

pytestmark = pytest.mark.limits


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> TimeBudget:
    budget = TimeBudget(clock)
    budget.start(0.1)
    return budget


def spend(clock: Clock, budget: TimeBudget, seconds: float) -> None:
    with budget.spending():
        clock.now_s += seconds


def test_a_window_costs_what_its_hooks_take_without_waiting(
    clock: Clock, budget: TimeBudget
) -> None:
    spend(clock, budget, 2.0)
    clock.now_s += 0.5  # the step itself
    with budget.spending():
        clock.now_s += 0.25
        with budget.waiting():
            clock.now_s += 7.0
        clock.now_s += 0.25
    assert budget.overdrawn == (
        "windows took 2.5 s of the 10.0 s so far, more than 10% (schedule.max_share)"
    )


def test_once_the_training_has_gone_on_there_is_room_again(
    clock: Clock, budget: TimeBudget
) -> None:
    spend(clock, budget, 2.0)
    clock.now_s = 119.9
    assert budget.overdrawn is not None
    clock.now_s = 120.0
    assert budget.overdrawn is None


def test_a_second_in_all_is_always_there(clock: Clock, budget: TimeBudget) -> None:
    for _ in range(4):
        spend(clock, budget, 0.25)
    assert budget.overdrawn is None
    spend(clock, budget, 0.25)
    assert budget.overdrawn is not None


def test_what_ends_with_an_exception_is_counted(clock: Clock, budget: TimeBudget) -> None:
    with contextlib.suppress(KeyboardInterrupt), budget.spending():
        clock.now_s += 2.0
        raise KeyboardInterrupt
    assert budget.overdrawn is not None


def test_waiting_outside_of_a_window_is_no_income(clock: Clock, budget: TimeBudget) -> None:
    with budget.waiting():
        clock.now_s += 5.0
    spend(clock, budget, 2.0)
    assert budget.overdrawn is not None


def test_without_a_limit_nothing_is_too_much(clock: Clock, budget: TimeBudget) -> None:
    budget.start(None)
    spend(clock, budget, 1000.0)
    assert budget.overdrawn is None


def test_the_next_training_begins_anew(clock: Clock, budget: TimeBudget) -> None:
    spend(clock, budget, 2.0)
    budget.start(0.1)
    assert budget.overdrawn is None


class Slow(Callback):
    """By the clock only reading a window takes time, half a second, and epoch 3, some minutes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, profiler: LayerProfiler) -> None:
        self.ahead_s = 0.0
        monkeypatch.setattr(profiler._train.budget, "_clock", lambda: self.ahead_s)
        finish = Window.finish

        def slow_finish(window: Window) -> Recording:
            self.ahead_s += 0.6
            return finish(window)

        monkeypatch.setattr(Window, "finish", slow_finish)

    def on_train_batch_start(self, trainer: Trainer, *arguments: Any) -> None:
        if arguments[-1] == 5 and trainer.current_epoch == 3:
            self.ahead_s += 400.0


class LongSteps(Slow):
    """Each step takes minutes by the clock."""

    def on_before_backward(self, *_: Any) -> None:
        self.ahead_s += 100.0


def epochs_with_rows(folder: Path) -> list[int]:
    return list(dict.fromkeys(int(row["epoch"]) for row in read_csv(folder)))


def test_epochs_go_without_a_window_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiler = LayerProfiler("Conv2d-2", Schedule(wait=2, max_share=0.04))
    slow = Slow(monkeypatch, profiler)
    with pytest.warns(
        UserWarning,
        match=r"^the training's windows took 1.2 s of the 1.2 s so far, more than 4% \(schedule",
    ) as warned:
        train(tmp_path, profiler, slow, max_epochs=6)
    assert epochs_with_rows(tmp_path) == [0, 1, 4, 5]
    assert len([each for each in warned if "max_share" in str(each.message)]) == 1


def test_each_training_says_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiler = LayerProfiler("Conv2d-2", Schedule(wait=2))
    Slow(monkeypatch, profiler)
    for number in range(2):
        with pytest.warns(UserWarning, match="^the training's windows took"):
            train(tmp_path / str(number), profiler, max_epochs=3)
        assert epochs_with_rows(tmp_path / str(number)) == [0, 1]


def test_each_stage_has_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiler = LayerProfiler("Conv2d-2", Schedule(wait=2), stages=["train", "validate"])
    for recorder in profiler._stages.values():
        monkeypatch.setattr(recorder.budget, "_clock", lambda: 0.0)

    class Spend(Callback):
        def on_train_epoch_end(self, *_: Any) -> None:
            profiler._train.budget._spent_s += 1000.0

    with pytest.warns(UserWarning, match=r"^the training's .* more than 0.75%") as warned:
        train(tmp_path, profiler, Spend(), model=ValidatedCnn, max_epochs=3)
    rows = read_csv(tmp_path)
    assert {row["epoch"] for row in rows if row["stage"] == "train"} == {"0"}
    assert {row["epoch"] for row in rows if row["stage"] == "validate"} == {"0", "1", "2"}
    assert not [each for each in warned if "the validation's" in str(each.message)]


def test_an_epoch_without_a_window_does_not_open_that_of_a_shorter_one_before() -> None:
    recorder = StageRecorder(Schedule(wait=10), "training_step")
    recorder.begin_training(torch.device("cpu"), 0.01)
    recorder.plan(20)
    assert recorder.wake_at == 10
    recorder.budget._spent_s = 1000.0
    with pytest.warns(UserWarning, match="^the training's windows took 1000.0 s"):
        recorder.plan(20)
    assert recorder.wake_at == math.inf


def test_what_its_step_takes_anyway_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiler = LayerProfiler("Conv2d-2", Schedule(wait=0, active=2))
    train(tmp_path, profiler, LongSteps(monkeypatch, profiler), max_epochs=1)
    assert profiler._train.budget._spent_s < 50.0


@pytest.mark.parametrize(("attaches_cupti", "waits"), [(False, 1), (True, 2)])
def test_nor_is_what_the_device_has_yet_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attaches_cupti: bool, waits: int
) -> None:
    """It is waited for at a window's end, and at its beginning if CUPTI is to be attached."""
    monkeypatch.setattr(
        "lightning_profile.stage_recorder.detaches_cupti", lambda device: attaches_cupti
    )
    profiler = LayerProfiler("Conv2d-2", Schedule(wait=2))
    slow = Slow(monkeypatch, profiler)

    def wait_for_device(window: Window) -> None:
        slow.ahead_s += 100.0

    monkeypatch.setattr(Window, "wait_for_device", wait_for_device)
    train(tmp_path, profiler, max_epochs=1)
    assert slow.ahead_s == pytest.approx(waits * 100.0 + 0.6)
    assert profiler._train.budget._spent_s < 50.0


def test_without_a_share_each_epoch_has_a_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiler = LayerProfiler("Conv2d-2", Schedule(wait=2, max_share=None))
    train(tmp_path, profiler, Slow(monkeypatch, profiler), max_epochs=4)
    assert epochs_with_rows(tmp_path) == [0, 1, 2, 3]


def test_waiting_for_the_counters_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiler = LayerProfiler("Conv2d-2", Schedule(wait=2))
    slow = Slow(monkeypatch, profiler)

    class Capture:
        """Nsight Compute, which takes its time."""

        is_open = False

        def begin_step(self, layers: Any) -> None: ...

        def close_step(self) -> None: ...

        def close(self) -> None: ...

        def count(self) -> dict[Any, Any]:
            slow.ahead_s += 100.0
            return {}

    class Counting(Callback):
        def on_train_start(self, *_: Any) -> None:
            profiler._train.capture = Capture()  # type: ignore[assignment]

    train(tmp_path, profiler, Counting(), max_epochs=1)
    assert profiler._train.budget._spent_s < 50.0
