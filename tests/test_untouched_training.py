"""The training does not notice: nothing changed, nothing left behind, nothing ended."""

from __future__ import annotations

import copy
import gc
import pickle
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.measurement import is_profiler_running
from tests.conftest import SmallCnn, read_csv, small_data, train

SCHEDULE = Schedule(wait=1, warmup=1, active=2)
FLOP_PER_IMAGE = 2 * 8 * 10 * 10 * 4 * 9


def profiler(*layers: str, schedule: Schedule = SCHEDULE) -> LayerProfiler:
    return LayerProfiler(layers or ["Conv2d-2"], schedule)


class Snapshot(Callback):
    """Everything a training leaves behind; ``loss`` is what the model logs its loss as."""

    def __init__(self, loss: str = "loss") -> None:
        self.loss = loss

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = {name: value.clone() for name, value in pl_module.state_dict().items()}
        self.optimizer = copy.deepcopy(trainer.optimizers[0].state_dict())
        self.rng = torch.get_rng_state()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.losses = [*getattr(self, "losses", []), trainer.callback_metrics[self.loss].clone()]


def test_the_training_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    bare, profiled = Snapshot(), Snapshot()
    train(tmp_path / "bare", bare, max_epochs=2)
    train(tmp_path / "profiled", profiler("Conv2d-1", "Conv2d-2"), profiled, max_epochs=2)
    assert len(read_csv(tmp_path / "profiled")) == 8
    assert bare.weights.keys() == profiled.weights.keys()
    assert all(torch.equal(bare.weights[name], profiled.weights[name]) for name in bare.weights)
    assert torch.equal(torch.stack(bare.losses), torch.stack(profiled.losses))
    assert torch.equal(bare.rng, profiled.rng)
    for number, state in bare.optimizer["state"].items():
        for name, value in state.items():
            assert torch.equal(value, profiled.optimizer["state"][number][name])


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    model, _ = train(tmp_path, profiler("Conv2d-1", "Conv2d-2"))
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    assert not is_profiler_running()
    model.trainer = None  # type: ignore[assignment]
    copied = pickle.loads(pickle.dumps(copy.deepcopy(model)))  # noqa: S301
    assert copied.state_dict().keys() == SmallCnn().state_dict().keys()


def test_a_closed_window_is_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    from torch.profiler.profiler import _KinetoProfile  # noqa: PLC0415

    gc.collect()
    gc.disable()
    try:
        train(tmp_path, profiler(), max_epochs=3)
        alive = [each for each in gc.get_objects() if type(each) is _KinetoProfile]
    finally:
        gc.enable()
    assert alive == []


def test_steps_outside_the_window_have_no_hooks_and_no_profiler(tmp_path: Path) -> None:
    seen: dict[int, tuple[bool, bool]] = {}

    class Watch(SmallCnn):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            seen[batch_idx] = (bool(self.conv2._forward_hooks), is_profiler_running())
            return super().training_step(batch, batch_idx)

    train(tmp_path, profiler(), model=Watch)
    assert [step for step, (hooked, _) in seen.items() if hooked] == [2, 3]
    assert [step for step, (_, running) in seen.items() if running] in ([2, 3], [1, 2, 3])
    assert len(seen) == 8


def test_a_validation_inside_of_the_window_ends_it(tmp_path: Path) -> None:
    class Validated(SmallCnn):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            assert not is_profiler_running()
            assert not self.conv2._forward_hooks

        def val_dataloader(self) -> DataLoader[Any]:
            return small_data(16, shuffle=False)

    schedule = Schedule(wait=1, warmup=1, active=4)
    train(tmp_path, profiler(schedule=schedule), model=Validated, val_check_interval=4)
    assert {row["steps"] for row in read_csv(tmp_path)} == {"2"}


def test_the_callback_keeps_nothing_of_a_finished_training(tmp_path: Path) -> None:
    callback = profiler()
    train(tmp_path, callback)
    again = pickle.loads(pickle.dumps(copy.deepcopy(callback)))  # noqa: S301
    train(tmp_path / "again", again)
    assert len(read_csv(tmp_path / "again")) == 2
