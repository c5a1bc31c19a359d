"""What a model does with its layers, and with the callback, while a window looks at them."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.comparison.notes import NOT_RUN
from lightning_profile.measurement import is_profiler_running
from tests.conftest import read_csv, read_json, train
from tests.trainings.rows import SCHEDULE, both, flop, profile
from tests.trainings.test_loops import Validated
from tests.trainings.test_passes import CONV2, Model
from tests.trainings.watchful import Dispatching, Encoder, FrozenEncoder, compiled_function

IN_WINDOW = 2  # a batch that is recorded


def test_under_a_mode_of_the_users_a_layer_has_all_its_operators(tmp_path: Path) -> None:
    rows = profile(tmp_path, "conv2", model=Dispatching)
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}


@pytest.mark.parametrize(
    ("model", "name"),
    [(FrozenEncoder, "encoder.layers.0.linear1"), (compiled_function("eager"), "conv2")],
)
def test_what_hooks_would_change_is_said_to_be_unseen(
    tmp_path: Path, model: Callable[[], LightningModule], name: str
) -> None:
    rows = profile(tmp_path, name, model=model)
    torch.compiler.reset()
    row = rows[name, "forward"]
    assert (row["note"], row["theoretical_flop"], row["counted_flop"]) == (NOT_RUN, "", "")


class SequenceFirst(Encoder):
    """torch has no fast path for it."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 2, 32, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def encoded(self, images: Tensor) -> Tensor:
        return self.encoder(images.squeeze(1))


def test_a_transformers_layer_without_a_fast_path_is_seen_in_evaluation(tmp_path: Path) -> None:
    name = "encoder.layers.0.linear1"
    rows = profile(tmp_path, name, model=SequenceFirst, stages="validate")
    assert flop(rows, name)["forward"] == both(2 * 12 * 4 * 12 * 32)


class ShallowCopies(Model):
    """Calls a copy of a layer that has the layer's own hooks, and one that fails."""

    def forward(self, images: Tensor) -> Tensor:
        twin = copy.copy(self.conv2)
        with pytest.raises(RuntimeError, match="expected input"):
            twin(images)
        twin(self.conv1(images))
        return super().forward(images)


def test_shallow_copies_stand_for_their_layer(tmp_path: Path) -> None:
    rows = profile(tmp_path, "conv2", model=ShallowCopies)
    assert flop(rows, "conv2")["forward"] == both(2 * CONV2)
    assert rows["conv2", "forward"]["calls"] == "2"


class Copying(Callback):
    """Takes a copy of all callbacks in a window."""

    def __init__(self, take: Callable[[Any], Any]) -> None:
        self._take = take
        self.copies: list[LayerProfiler] = []

    def on_before_backward(self, trainer: Trainer, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx == IN_WINDOW:
            (profiler,) = [each for each in trainer.callbacks if isinstance(each, LayerProfiler)]
            assert profiler._train.is_open
            self.copies.append(self._take(profiler))


@pytest.mark.parametrize(
    "take",
    [copy.deepcopy, copy.copy, lambda each: pickle.loads(pickle.dumps(each))],  # noqa: S301
)
def test_the_callback_can_be_copied_in_a_window(tmp_path: Path, take: Callable[[Any], Any]) -> None:
    copying = Copying(take)
    profiler = LayerProfiler("conv2", SCHEDULE, ["train", "validate"])
    train(tmp_path / "first", profiler, copying, model=Validated)
    assert not is_profiler_running()
    assert read_csv(tmp_path / "first")
    (twin,) = copying.copies
    assert (twin.patterns, twin.schedule, [*twin._stages]) == (
        profiler.patterns,
        profiler.schedule,
        ["train", "validate"],
    )
    assert not twin._train.is_open
    assert twin.folder is None
    assert copy.deepcopy(profiler).folder == profiler.folder is not None
    train(tmp_path / "second", twin, model=Validated)
    assert len(read_csv(tmp_path / "second")) == len(read_csv(tmp_path / "first"))


class Moving(Callback):
    """Puts a module with the same hooks in a layer's place, as quantization does."""

    def on_before_zero_grad(self, trainer: Trainer, model: Any, _: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx == IN_WINDOW:
            new = copy.copy(model.conv2)
            for name in ("_forward_hooks", "_forward_pre_hooks"):
                setattr(new, name, type(new._forward_hooks)())
            for name in ("_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs"):
                setattr(new, name, type(new._forward_hooks)())
            for hook in model.conv2._forward_hooks.values():
                new.register_forward_hook(hook)
            for hook in model.conv2._forward_pre_hooks.values():
                new.register_forward_pre_hook(hook)
            assert new._forward_hooks
            assert new._forward_pre_hooks
            model.conv2 = new


def test_hooks_that_were_moved_to_another_module_leave_it(tmp_path: Path) -> None:
    model, _ = train(tmp_path, LayerProfiler("conv2", SCHEDULE), Moving(), model=Model)
    assert not model.conv2._forward_hooks
    assert not model.conv2._forward_pre_hooks
    assert read_csv(tmp_path)


def test_a_script_traced_in_a_window_is_not_a_call(tmp_path: Path) -> None:
    class Tracing(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if batch_idx == IN_WINDOW:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # tracing is out of date
                    torch.jit.trace(self.conv2, torch.ones(1, 4, 12, 12), check_trace=False)
            return super().training_step(batch, batch_idx)

    rows = profile(tmp_path, "conv2", model=Tracing)
    assert flop(rows, "conv2")["forward"] == both(CONV2)
    assert len(read_json(tmp_path)["windows"]) == 1


class Words(Model):
    """Gradients of its words are sparse, and its optimizer keeps a tensor for each parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 144, sparse=True)

    def forward(self, images: Tensor) -> Tensor:
        words = self.words((images.flatten(1)[:, 0] > 0).long())
        return super().forward(images + words.view_as(images))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return Remembering(self.parameters(), {})


class Remembering(torch.optim.Optimizer):
    """Keeps the last gradient."""

    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.state[parameter] = parameter.grad.clone()
        return loss


def test_sparse_gradients_and_any_state_are_measured(tmp_path: Path) -> None:
    train(tmp_path, LayerProfiler(["words", "conv2"], Schedule(wait=1)), model=Words)
    (window,) = read_json(tmp_path)["windows"]
    measured = {each["layer"]: each["measured"] for each in window["footprints"]}
    sparse_bytes = 8 * (8 + 144 * 4)  # of each of 8 words its number and its gradient
    assert measured["Embedding-1"]["gradient_bytes"] == sparse_bytes
    assert measured["Embedding-1"]["optimizer_state_bytes"] == sparse_bytes
    parameter_bytes = measured["Conv2d-2"]["parameter_bytes"]
    assert measured["Conv2d-2"]["optimizer_state_bytes"] == parameter_bytes > 0
