"""During and after a training: nothing patched, switched or left; the model is what it was."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_profile import LayerProfiler
from lightning_profile.measurement import is_profiler_running
from tests.conftest import train
from tests.trainings.rows import SCHEDULE
from tests.trainings.surroundings import surroundings
from tests.trainings.test_loops import Validated
from tests.trainings.test_passes import Gan, Model, checkpointed
from tests.trainings.untouched import Hooked, Sequences, Tied
from tests.trainings.witness import fingerprint

MODELS = [Validated, Gan, Hooked, Sequences, Tied, checkpointed(use_reentrant=False)]


def profiler(model: object = Model) -> LayerProfiler:
    stages = ["train", "validate"] if model is Validated else "train"
    return LayerProfiler("all", SCHEDULE, stages, trace=True)


def changed(before: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    after = surroundings()
    # What the training imports meanwhile brings its own names along.
    return {
        name: (value, after.get(name)) for name, value in before.items() if value != after.get(name)
    }


@pytest.fixture(scope="module", autouse=True)
def _lightning_has_made_its_own_changes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It and torch change the process once: variables, handlers, a measured ``Adam.step``."""
    train(tmp_path_factory.mktemp("first"))


@pytest.mark.pictures
@pytest.mark.parametrize("model", MODELS)
def test_the_process_is_as_it_was(tmp_path: Path, model: Callable[[], LightningModule]) -> None:
    before = surroundings()
    train(tmp_path, profiler(model), model=model, max_epochs=2)
    assert changed(before) == {}
    assert not is_profiler_running()
    assert torch.autograd._profiler_enabled() is False


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Lightning ignores further interrupts after the first."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at_step", [0, 1, 2, 3, 4])
def test_so_it_is_after_an_exception(
    tmp_path: Path, kind: type[BaseException], at_step: int
) -> None:
    class Failing(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if batch_idx == at_step:
                raise kind
            return super().training_step(batch, batch_idx)

    def fail(*callbacks: Any) -> None:
        with pytest.raises((kind, SystemExit)):
            train(tmp_path / str(len(callbacks)), *callbacks, model=Failing)

    fail()
    before = surroundings()
    fail(profiler())
    assert changed(before) == {}
    assert not is_profiler_running()


def test_so_it_is_after_a_fault_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a broken stage")

    monkeypatch.setattr("lightning_profile.pipeline.attribute", broken)
    before = surroundings()
    with pytest.warns(UserWarning, match="a broken stage"):
        train(tmp_path, profiler(Validated), model=Validated)
    assert changed(before) == {}


def test_nothing_is_switched_inside_of_the_window_either(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    class Watching(Model):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(surroundings())
            logits = super().forward(images)
            logits.register_hook(lambda _: seen.append(surroundings()))
            return logits

    train(tmp_path, profiler(), model=Watching)
    assert len(seen) == 2 * 8
    for forward, backward in zip(seen[::2], seen[1::2], strict=True):
        assert forward == seen[0]
        assert backward == seen[1]


@pytest.mark.parametrize("model", MODELS)
def test_the_model_and_what_trains_it_are_as_without(
    tmp_path: Path, model: Callable[[], LightningModule]
) -> None:
    bare, profiled = (
        train(tmp_path / name, *callbacks, model=model)
        for name, callbacks in (("bare", []), ("profiled", [profiler(model)]))
    )
    assert parts(*profiled) == parts(*bare)


def parts(model: LightningModule, trainer: Trainer) -> list[Any]:
    """Names of attributes, and hooks, of everything that the callback gets to see."""
    tensors = [*model.parameters(), *model.buffers()]
    loader = trainer.train_dataloader
    return [
        [(type(each), list(vars(each)), hooks(each)) for each in model.modules()],
        [(type(each), hooks(each), bool(each._backward_hooks)) for each in tensors],
        [(type(each), sorted(vars(each)), hooks(each)) for each in trainer.optimizers],
        [(type(each), sorted(vars(each))) for each in (loader, trainer, trainer.strategy)],
    ]


def hooks(owner: Any) -> dict[str, int]:
    """How many hooks of each kind there are."""
    names = (name for name in dir(owner) if name.endswith("_hooks"))
    values = {name: getattr(owner, name) for name in names}
    return {name: len(each) for name, each in values.items() if isinstance(each, dict)}


class Contents(pickle.Pickler):
    """Tensors by their contents: torch adds a number of its own to each storage."""

    def persistent_id(self, value: Any) -> Any:
        return fingerprint(value) if isinstance(value, Tensor) else None


def pickled(value: object) -> bytes:
    file = io.BytesIO()
    Contents(file).dump(value)
    return file.getvalue()


@pytest.mark.parametrize("model", [Validated, Gan, Sequences, Tied])
def test_the_model_is_copied_and_pickled_as_without(
    tmp_path: Path, model: Callable[[], LightningModule]
) -> None:
    made = []
    for name, callbacks in (("bare", []), ("profiled", [profiler(model)])):
        trained, _ = train(tmp_path / name, *callbacks, model=model)
        trained.trainer = None  # type: ignore[assignment]
        loaded = pickle.loads(pickle.dumps(trained))  # noqa: S301
        made.append([pickled(each) for each in (trained, copy.deepcopy(trained), loaded)])
    assert made[0] == made[1]


@pytest.mark.pictures
@pytest.mark.filterwarnings("ignore::FutureWarning")  # all objects are looked at, old ones too
def test_no_thread_and_no_model_outlives_the_training(tmp_path: Path) -> None:
    class Unique(Model):
        pass

    def alive(callback: Callback) -> tuple[int, int]:
        train(tmp_path / type(callback).__name__, callback, model=Unique)
        gc.collect()
        models = [each for each in gc.get_objects() if isinstance(each, Unique)]
        return threading.active_count(), len(models)

    # Lightning binds the model's methods to any callback, which so keeps it alive.
    bare = alive(Callback())
    assert alive(profiler()) == bare
