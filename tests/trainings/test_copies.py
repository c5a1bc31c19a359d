"""Copies and files of a model that are made in a window have nothing of the window."""

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
from torch import nn

from lightning_profile import LayerProfiler
from lightning_profile.hooks import LayerHooks
from lightning_profile.records import Layer
from lightning_profile.selection import select_layers
from tests.conftest import read_csv, train
from tests.trainings.rows import SCHEDULE
from tests.trainings.test_passes import Model
from tests.trainings.watchful import Encoder

IN_WINDOW = 2  # a batch that is recorded
TABLES = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)


def entries(module: nn.Module) -> list[int]:
    return [len(getattr(each, table)) for each in module.modules() for table in TABLES]


class Taking(Callback):
    """Takes something of each layer in a window."""

    def __init__(self, take: Callable[[nn.Module], Any]) -> None:
        self._take = take
        self.taken: list[Any] = []

    def on_before_backward(self, trainer: Trainer, model: LightningModule, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx == IN_WINDOW:
            assert any(entries(model))
            self.taken += [self._take(each) for each in model.children()]


def pickled(module: nn.Module) -> nn.Module:
    written = pickle.dumps(module)
    assert b"lightning_profile" not in written
    return pickle.loads(written)  # noqa: S301


@pytest.mark.parametrize("model", [Model, Encoder])
@pytest.mark.parametrize("take", [copy.deepcopy, pickled])
def test_a_copy_that_is_made_in_a_window_has_no_hooks(
    tmp_path: Path, take: Callable[[nn.Module], Any], model: Callable[[], LightningModule]
) -> None:
    taking = Taking(take)
    trained, _ = train(tmp_path, LayerProfiler("all", SCHEDULE), taking, model=model)
    assert taking.taken
    assert not any(any(entries(each)) for each in [trained, *taking.taken])
    tables = [getattr(each, table) for each in trained.modules() for table in TABLES]
    assert not any(vars(table) for table in tables)
    assert read_csv(tmp_path)


def test_hooks_of_the_users_are_in_the_copy(tmp_path: Path) -> None:
    class Hooked(Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv2.register_forward_hook(print_nothing)
            self.conv2.register_forward_pre_hook(print_nothing, with_kwargs=True)

    taking = Taking(copy.deepcopy)
    trained, _ = train(tmp_path, LayerProfiler("conv2", SCHEDULE), taking, model=Hooked)
    twin = taking.taken[[*trained.children()].index(trained.conv2)]
    assert entries(twin) == entries(trained.conv2) == [1, 0, 0, 1, 1]


def print_nothing(*_: Any) -> None:
    """A hook of the user's."""


def test_a_copy_from_a_window_becomes_a_script(tmp_path: Path) -> None:
    taking = Taking(copy.deepcopy)
    train(tmp_path, LayerProfiler("all", SCHEDULE), taking, model=Model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripts are out of date
        scripts = [torch.jit.script(each) for each in taking.taken]
    assert scripts


class Watching:
    """What hooks tell of."""

    def enter(self, *_: Any) -> None:
        """A forward begins."""

    def leave(self, *_: Any) -> None:
        """A forward ends."""

    def give_up(self, *_: Any) -> None:
        """Something went wrong."""


@pytest.fixture
def conv2() -> Layer:
    (layer,) = select_layers(Model(), "conv2").rows
    return layer


def test_what_two_watch_is_left_out_until_both_have_ended(conv2: Layer) -> None:
    first, second = LayerHooks(), LayerHooks()
    for hooks in (first, second):
        hooks.add(Watching(), conv2)
    first.remove()
    assert not any(entries(copy.deepcopy(conv2.module)))
    second.remove()
    assert not any(vars(getattr(conv2.module, table)) for table in TABLES)


@pytest.mark.parametrize("take", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])  # noqa: S301
def test_a_hook_that_is_copied_by_itself_does_nothing(
    conv2: Layer, take: Callable[[Any], Any]
) -> None:
    hooks = LayerHooks()
    hooks.add(Watching(), conv2)
    (hook,) = conv2.module._forward_hooks.values()
    hooks.remove()
    assert take([hook])[0](conv2.module, (), None) is None
