"""A fault of the callback itself: one warning with enough to report it, and the next try."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lightning_profile import LayerProfiler, Schedule, __version__, theory
from lightning_profile.measurement import Window, is_profiler_running
from lightning_profile.selection import select_layers
from tests.conftest import SmallCnn, read_csv, train

SCHEDULE = Schedule(wait=1, warmup=1, active=2)
STAGES = [  # one of each
    "lightning_profile.stage_recorder.Window",
    "lightning_profile.measurement.window._KinetoProfile.start_trace",
    "lightning_profile.measurement.window.read_ops",
    "lightning_profile.measurement.calls.tensors_in",
    "lightning_profile.pipeline.attribute",
    "lightning_profile.pipeline.compare",
    "lightning_profile.pipeline.measure_footprint",
    "lightning_profile.callback.steps_to_come",
]


def profiler() -> LayerProfiler:
    return LayerProfiler("Conv2d-2", SCHEDULE)


class Mend(Callback):
    """Ends the fault before the third epoch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.monkeypatch.undo()


@pytest.mark.parametrize("broken", STAGES)
def test_a_fault_is_one_warning_and_the_next_window_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a broken part")

    monkeypatch.setattr(broken, fail)
    with pytest.warns(UserWarning, match="a window of the layer profile is lost") as warned:
        model, trainer = train(tmp_path, profiler(), Mend(monkeypatch), max_epochs=4)
    (text,) = [text for each in warned if "layer profile" in (text := str(each.message))]
    assert "RuntimeError: a broken part" in text
    assert f"{Path(__file__).name}:" in text  # where it happened
    assert __version__ in text
    assert torch.__version__ in text
    assert trainer.global_step == 4 * 8
    assert {row["epoch"] for row in read_csv(tmp_path)} == {"2", "3"}
    assert not is_profiler_running()
    assert not model.conv2._forward_hooks


def test_where_a_warning_is_an_error_the_window_is_closed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a broken part")

    monkeypatch.setattr("lightning_profile.pipeline.compare", fail)
    with pytest.raises(UserWarning, match="a broken part"):
        train(tmp_path, profiler())
    assert not is_profiler_running()


class Odd(nn.Linear):
    """Of a type of its own."""


@theory.phase_costs.register
def _(layer: Odd, call: Any) -> Any:
    raise ZeroDivisionError("the user's own formula")


def test_a_users_broken_formula_costs_its_layer_only(tmp_path: Path) -> None:
    class Model(SmallCnn):
        def __init__(self) -> None:
            super().__init__()
            self.odd = Odd(10, 10)

        def forward(self, images: Tensor) -> Tensor:
            return self.odd(super().forward(images))

    train(tmp_path, LayerProfiler(["Conv2d-2", "odd"], SCHEDULE), model=Model)
    rows = {(row["qualified_name"], row["phase"]): row for row in read_csv(tmp_path)}
    assert rows["odd", "forward"]["theoretical_flop"] == ""
    assert "ZeroDivisionError: the user's own formula" in rows["odd", "forward"]["note"]
    assert rows["odd", "forward"]["counted_flop"] == str(2 * 8 * 10 * 10)
    assert rows["conv2", "forward"]["theoretical_flop"] != ""


def test_a_fault_in_a_hook_never_reaches_the_users_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> Iterator[Tensor]:
        raise RuntimeError("sizes are not supported")

    seen: list[int] = []

    class Model(SmallCnn):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            seen.append(batch_idx)
            return loss

    monkeypatch.setattr("lightning_profile.measurement.calls.tensors_in", broken)
    with pytest.warns(UserWarning, match="sizes are not supported") as warned:
        train(tmp_path, profiler(), model=Model)
    assert len([each for each in warned if "layer profile" in str(each.message)]) == 1
    assert seen == list(range(8))


def test_a_window_whose_hooks_fail_to_go_still_stops_the_profiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = SmallCnn()
    window = Window(select_layers(model, ["Conv2d-2"]).watched, torch.device("cpu"))
    window.warm_up()
    window.start()

    def broken(_: object) -> None:
        raise RuntimeError("a handle that is gone")

    monkeypatch.setattr("lightning_profile.measurement.calls.CallRecorder.detach", broken)
    with pytest.raises(RuntimeError, match="a handle that is gone"):
        window.close()
    assert not is_profiler_running()
