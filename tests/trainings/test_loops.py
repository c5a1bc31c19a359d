"""Loaders, stages and ends of trainings: the window keeps to steps that are alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.comparison.notes import NOT_RUN
from tests.conftest import read_all_rows, read_csv, read_json, read_rest, small_data, train
from tests.trainings.rows import SCHEDULE, both, flop, profile
from tests.trainings.test_passes import CONV2, Model


class Endless(IterableDataset[Any]):
    """Of a length that no one knows beforehand."""

    def __iter__(self) -> Iterator[Any]:
        yield from small_data().dataset


class Validated(Model):
    """Has a validation, whose batches are half as large."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self(batch[0])

    def val_dataloader(self) -> Any:
        return small_data(32, 4, shuffle=False)


def test_data_without_a_length(tmp_path: Path) -> None:
    rows = profile(tmp_path, "conv2", model=Model, data=DataLoader(Endless(), batch_size=8))
    assert rows["conv2", "forward"]["steps"] == "2"
    assert flop(rows, "conv2")["forward"] == both(CONV2)


def test_several_loaders(tmp_path: Path) -> None:
    class Combined(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch["a"], batch_idx) + self(batch["b"][0]).mean()

    data = {"a": small_data(64, 8), "b": small_data(32, 4)}
    rows = profile(tmp_path, "conv2", model=Combined, data=data)
    assert rows["conv2", "forward"]["calls"] == "2"
    assert rows["conv2", "forward"]["batch_size"] == "8"
    assert flop(rows, "conv2")["backward"] == both(2 * CONV2 + CONV2)


def test_a_short_last_batch_is_not_mixed_with_full_ones(tmp_path: Path) -> None:
    schedule = Schedule(wait=0, warmup=1, active=3)
    data = small_data(27, 8, shuffle=False)
    rows = profile(tmp_path, "conv2", model=Model, data=data, schedule=schedule)
    assert (rows["conv2", "forward"]["batch_size"], rows["conv2", "forward"]["steps"]) == ("8", "2")


def test_a_validation_inside_of_the_epoch_ends_the_window(tmp_path: Path) -> None:
    schedule = Schedule(wait=1, warmup=1, active=4)
    rows = profile(tmp_path, "conv2", model=Validated, schedule=schedule, val_check_interval=4)
    assert rows["conv2", "forward"]["steps"] == "2"
    assert flop(rows, "conv2")["forward"] == both(CONV2)


def test_validation_is_a_stage_of_its_own(tmp_path: Path) -> None:
    train(
        tmp_path,
        LayerProfiler("conv2", SCHEDULE, ["train", "validate"]),
        model=Validated,
        num_sanity_val_steps=2,
    )
    by_stage: dict[str, dict[str, dict[str, str]]] = {}
    for row in read_csv(tmp_path):
        by_stage.setdefault(row["stage"], {})[row["phase"]] = row
    assert list(by_stage) == ["train", "validate"]
    validation = by_stage["validate"]
    assert validation["forward"]["batch_size"] == "4"
    assert validation["forward"]["counted_flop"] == str(CONV2 // 2)
    assert validation["forward"]["theoretical_flop"] == str(CONV2 // 2)
    assert validation["backward"]["note"] == "has no backward: no gradient is needed"
    assert by_stage["train"]["forward"]["counted_flop"] == str(CONV2)


def test_validation_alone(tmp_path: Path) -> None:
    rows = profile(tmp_path, "conv2", model=Validated, stages="validate")
    assert {row["stage"] for row in rows.values()} == {"validate"}


def test_a_validation_without_a_training(tmp_path: Path) -> None:
    model, trainer = train(tmp_path / "fit", LayerProfiler("conv2", SCHEDULE), model=Validated)
    alone = Trainer(
        callbacks=[LayerProfiler("conv2", SCHEDULE, "validate")],
        logger=CSVLogger(tmp_path / "alone"),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    alone.validate(model, verbose=False)
    forward, backward = read_csv(tmp_path / "alone")
    assert (forward["stage"], forward["counted_flop"]) == ("validate", str(CONV2 // 2))
    assert backward["note"] == "has no backward: no gradient is needed"
    trainer.validate(model, verbose=False)  # with a profiler of trainings only
    assert len(read_csv(tmp_path / "fit")) == 2


def test_an_unknown_stage_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="stages are 'train' and 'validate', not 'test'"):
        LayerProfiler("conv2", stages=["train", "test"])


def test_a_layer_of_validation_only_did_not_run_in_training(tmp_path: Path) -> None:
    class Spare(Validated):
        def __init__(self) -> None:
            super().__init__()
            self.spare = torch.nn.Conv2d(1, 1, 3)

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.spare(batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.conv2.parameters(), lr=0.1)

    rows = profile(tmp_path / "train", "spare", model=Spare)
    assert rows["spare", "forward"]["note"] == NOT_RUN
    assert rows["spare", "forward"]["counted_flop"] == ""
    rows = profile(tmp_path / "validate", "spare", model=Spare, stages="validate")
    assert flop(rows, "spare")["forward"] == both(2 * 4 * 100 * 9)


def test_a_layer_of_some_steps_says_so(tmp_path: Path) -> None:
    class Sometimes(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            return loss + self.conv1(batch[0]).mean() if batch_idx == 2 else loss

        def forward(self, images: Tensor) -> Tensor:
            return self.fc(images.flatten(1).repeat(1, 2)[:, :200])

    rows = profile(tmp_path, "conv1", model=Sometimes)
    forward = rows["conv1", "forward"]
    assert (forward["steps"], forward["note"]) == ("1", "ran in 1 of 2 recorded steps")
    assert forward["theoretical_flop"] == forward["counted_flop"] != ""


def test_max_steps_inside_of_the_window(tmp_path: Path) -> None:
    schedule = Schedule(wait=2, warmup=1, active=3)
    with pytest.warns(UserWarning, match="epoch has 4: shrunk to wait 0, warmup 1, active 3"):
        rows = profile(tmp_path, "conv2", model=Model, schedule=schedule, max_steps=4)
    assert rows["conv2", "forward"]["steps"] == "3"
    assert len(read_csv(tmp_path)) == 2


def test_an_epoch_shorter_than_the_window(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="epoch has 2: shrunk to wait 0, warmup 1, active 1"):
        rows = profile(tmp_path, "conv2", model=Model, limit_train_batches=2)
    assert rows["conv2", "forward"]["steps"] == "1"


class TwoOptimizers(Model):
    """Each batch is two optimizer steps, which is what ``max_steps`` counts."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self(batch[0]).square().mean())
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=1e-3) for _ in range(2)]


def test_max_steps_counts_the_steps_of_every_optimizer(tmp_path: Path) -> None:
    schedule = Schedule(wait=2, warmup=1, active=3)
    with pytest.warns(UserWarning, match="epoch has 4: shrunk to wait 0, warmup 1, active 3"):
        rows = profile(tmp_path, "conv2", model=TwoOptimizers, schedule=schedule, max_steps=8)
    assert rows["conv2", "forward"]["steps"] == "3"


class Stopping(Model):
    """It skips the rest of each epoch."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 1 else None


def test_a_training_that_ends_before_its_window_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="ended before a window opened .wait 2"):
        train(
            tmp_path,
            LayerProfiler("conv2", Schedule(wait=2, warmup=1, active=1)),
            model=Stopping,
        )
    assert not list(tmp_path.rglob("layer_profile.csv"))


def test_a_second_training_that_ends_before_its_window_says_so_too(tmp_path: Path) -> None:
    profiler = LayerProfiler("conv2", Schedule(wait=2))
    train(tmp_path / "first", profiler, model=Model)
    with pytest.warns(UserWarning, match="ended before a window opened .wait 2"):
        train(tmp_path / "second", profiler, model=Stopping)
    assert len(read_csv(tmp_path / "first")) == 2
    assert not list((tmp_path / "second").rglob("layer_profile.csv"))


def test_fit_called_twice_goes_on_counting(tmp_path: Path) -> None:
    model, trainer = train(tmp_path, LayerProfiler("conv2", SCHEDULE), model=Model)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, small_data())
    rows = read_csv(tmp_path)
    assert [row["epoch"] for row in rows] == ["0", "0", "1", "1", "2", "2"]
    assert [row["global_step"] for row in rows[::2]] == ["4", "12", "20"]
    assert len(read_rest(tmp_path)) == 3


def _resumable(folder: Path, every_n_steps: int) -> dict[str, Any]:
    return {
        "logger": CSVLogger(folder, name="run", version=0),
        "enable_checkpointing": True,
        "model": Model,
        "callback": ModelCheckpoint(folder, every_n_train_steps=every_n_steps, save_top_k=-1),
    }


# Lightning's remark on stateful loaders; CSVLogger's on its folder.
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before")
@pytest.mark.filterwarnings("ignore:a window of wait 1.*shrunk to wait 0")
@pytest.mark.filterwarnings("ignore:Experiment logs directory .* exists and is not empty")
@pytest.mark.parametrize(
    ("saved_at", "expected"),
    [
        # At the end of the first epoch: the second one is trained, and reported, again.
        (8, {"0": "4", "1": "12", "2": "20"}),
        # In the middle of the second: the rest of it has a window of its own.
        (13, {"0": "4", "1": "16", "2": "20"}),
    ],
)
def test_resuming_neither_loses_nor_doubles_rows(
    tmp_path: Path, saved_at: int, expected: dict[str, str]
) -> None:
    options = _resumable(tmp_path, saved_at)
    saver, model = options.pop("callback"), options.pop("model")
    train(tmp_path, LayerProfiler("conv2", SCHEDULE), saver, model=model, max_epochs=2, **options)
    (checkpoint,) = [p for p in tmp_path.glob("*.ckpt") if f"step={saved_at}" in p.name]
    options = _resumable(tmp_path, saved_at)
    saver, model = options.pop("callback"), options.pop("model")
    train(
        tmp_path,
        LayerProfiler("conv2", SCHEDULE),
        saver,
        model=model,
        max_epochs=3,
        checkpoint=checkpoint,
        **options,
    )
    rows = [row for row in read_all_rows(tmp_path) if row["phase"] == "forward"]
    last = {row["epoch"]: row["global_step"] for row in rows}
    assert last == expected
    steps = [row["global_step"] for row in rows]
    assert len(steps) == len(set(steps))
    windows = read_json(tmp_path)["windows"]
    assert [str(window["global_step"]) for window in windows] == steps
    assert all(re.fullmatch(r"\d+", row["counted_flop"]) for row in rows)
