"""What goes wrong in a training reaches the user as it is, and nothing of ours stays behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.profiler.profiler import _KinetoProfile
from torch.utils.data import DataLoader, Dataset

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.measurement import is_profiler_running
from tests.conftest import SmallCnn, read_csv, read_json, small_data, train

SCHEDULE = Schedule(wait=1, warmup=1, active=2)  # of 8 steps: warm in step 1, on in 2 and 3
STEPS = {"before": 0, "warm-up": 1, "first": 2, "last": 3, "after": 5}


class UsersError(Exception):
    """Raised by no one else."""


def profiler() -> LayerProfiler:
    return LayerProfiler(["conv1", "Conv2d-2"], SCHEDULE)


class FailsInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, error: BaseException) -> Tensor:
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> Any:
        raise ctx.error


class Failing(SmallCnn):
    """Fails in its second epoch, in the place and step that it was told."""

    def __init__(self, place: str, step: int, error: BaseException) -> None:
        super().__init__()
        self.place, self.step, self.error = place, step, error
        self.is_due = False

    def fail_in(self, place: str) -> None:
        if self.is_due and self.place == place:
            raise self.error

    def forward(self, images: Tensor) -> Tensor:
        images = super().forward(images)
        if self.is_due and self.place == "backward":
            images = FailsInBackward.apply(images, self.error)
        return images

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.is_due = batch_idx == self.step and self.current_epoch == 1
        self.fail_in("training_step")
        if self.is_due and self.place == "profiled layer":
            handle = self.conv2.register_forward_hook(lambda *_: self.fail_in("profiled layer"))
            try:
                return super().training_step(batch, batch_idx)
            finally:
                handle.remove()
        return super().training_step(batch, batch_idx)

    def on_after_backward(self) -> None:
        self.fail_in("on_after_backward")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        model = self

        class Failing(torch.optim.SGD):
            def step(self, closure: Any = None) -> Any:  # type: ignore[override]
                loss = super().step(closure)
                model.fail_in("optimizer")
                return loss

        return Failing(self.parameters(), lr=0.01)


class FailingCallback(Callback):
    """The user's own, which fails at the start or at the end of a step."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Failing)
        pl_module.is_due = batch_idx == pl_module.step and trainer.current_epoch == 1
        pl_module.fail_in("callback at the start")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *arguments: Any
    ) -> None:
        assert isinstance(pl_module, Failing)
        pl_module.fail_in("callback at the end")


PLACES = [
    "training_step",
    "profiled layer",
    "backward",
    "on_after_backward",
    "optimizer",
    "callback at the start",
    "callback at the end",
]


def assert_nothing_left(model: LightningModule, folder: Path) -> None:
    assert not is_profiler_running()
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    train(folder / "after", profiler())  # another training is profiled as ever
    assert len(read_csv(folder / "after")) == 4


@pytest.mark.parametrize("when", STEPS)
@pytest.mark.parametrize(
    ("place", "ours_first"),
    [
        (place, ours_first)
        for place in PLACES
        for ours_first in ([True, False] if "callback" in place else [True])
    ],
)
def test_an_exception_reaches_the_user_unchanged(
    tmp_path: Path, place: str, when: str, ours_first: bool
) -> None:
    error = UsersError("the user's own")
    model = Failing(place, STEPS[when], error)
    callbacks = [profiler(), FailingCallback()]
    with pytest.raises(UsersError) as raised:
        train(
            tmp_path / "run",
            *(callbacks if ours_first else callbacks[::-1]),
            model=lambda: model,
            max_epochs=2,
        )
    assert raised.value is error
    rows = read_csv(tmp_path / "run")
    # Our own end of the last step comes before that of a callback behind us.
    has_second = when == "after" or (
        when == "last" and place == "callback at the end" and ours_first
    )
    assert {row["epoch"] for row in rows} == ({"0", "1"} if has_second else {"0"})
    assert len(read_json(tmp_path / "run")["windows"]) == (2 if has_second else 1)
    assert_nothing_left(model, tmp_path)


@pytest.mark.parametrize("when", STEPS)
def test_an_exception_in_a_workers_process_reaches_the_user(tmp_path: Path, when: str) -> None:
    class FailingData(Dataset[Any]):
        reads = 0

        def __len__(self) -> int:
            return 64

        def __getitem__(self, index: int) -> Any:
            self.reads += 1  # in the worker, which lives as long as the loader
            if self.reads > 64 + 8 * STEPS[when]:
                raise UsersError("the user's own")
            return small_data().dataset[index]

    model = SmallCnn()
    loader = DataLoader(FailingData(), batch_size=8, num_workers=1, persistent_workers=True)
    with pytest.raises(UsersError, match="the user's own"):
        train(tmp_path / "run", profiler(), model=lambda: model, data=loader, max_epochs=2)
    epochs = {row["epoch"] for row in read_csv(tmp_path / "run")}
    assert epochs == ({"0", "1"} if when == "after" else {"0"})
    assert_nothing_left(model, tmp_path)


@pytest.mark.parametrize("when", STEPS)
@pytest.mark.parametrize("place", ["profiled layer", "backward", "callback at the start"])
def test_an_interrupt_shows_what_there_is(
    tmp_path: Path, place: str, when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Failing(place, STEPS[when], KeyboardInterrupt())
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        train(
            tmp_path / "run",
            profiler(),
            FailingCallback(),
            model=lambda: model,
            max_epochs=2,
        )
    assert {row["epoch"] for row in read_csv(tmp_path / "run")} >= {"0"}
    assert "what it should cost, what it costs" in capsys.readouterr().out
    assert_nothing_left(model, tmp_path)


@pytest.mark.parametrize(
    "interrupted",
    [
        "lightning_profile.measurement.window.read_ops",
        "lightning_profile.pipeline.compare",
        "lightning_profile.measurement.calls.CallRecorder.detach",
        "lightning_profile.report.csv_file.rows",
    ],
)
def test_an_interrupt_inside_of_our_own_work_is_the_users_too(
    tmp_path: Path, interrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        monkeypatch.undo()  # one signal
        raise KeyboardInterrupt

    model = SmallCnn()
    with pytest.raises(SystemExit):
        train(
            tmp_path / "run",
            profiler(),
            At(epoch=1, action=lambda: monkeypatch.setattr(interrupted, interrupt)),
            model=lambda: model,
            max_epochs=2,
        )
    assert {row["epoch"] for row in read_csv(tmp_path / "run")} == {"0"}
    assert_nothing_left(model, tmp_path)


def test_an_interrupt_as_a_window_opens_is_no_other_profiler_to_later_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = _KinetoProfile.prepare_trace

    def interrupt(own: _KinetoProfile) -> None:
        monkeypatch.undo()  # one signal
        prepare(own)
        raise KeyboardInterrupt

    monkeypatch.setattr(_KinetoProfile, "prepare_trace", interrupt)
    model = SmallCnn()
    with pytest.raises(SystemExit) as kept:  # with all that the interrupt has seen, as in notebooks
        train(tmp_path / "interrupted", profiler(), model=lambda: model)
    train(tmp_path / "next", profiler(), model=lambda: model)
    assert kept
    assert {row["epoch"] for row in read_csv(tmp_path / "next")} == {"0"}
    assert_nothing_left(model, tmp_path)


class At(Callback):
    """Does something at the start of an epoch."""

    def __init__(self, *, epoch: int, action: Callable[[], object]) -> None:
        self.epoch, self.action = epoch, action

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            self.action()


def test_the_model_is_not_kept_alive_after_an_exception(tmp_path: Path) -> None:
    profiler = LayerProfiler("conv2", Schedule(wait=1))
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, profiler, RaisesLate())
    assert profiler._run is None
    assert profiler.folder is not None
    assert read_csv(tmp_path)


class RaisesLate(Callback):
    """After the window."""

    def on_train_epoch_end(self, *_: Any) -> None:
        raise ZeroDivisionError("of all things")
