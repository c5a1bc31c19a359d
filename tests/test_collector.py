"""Python's garbage collector rests while a window is read, and only then."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from pytorch_lightning import Callback
from pytorch_lightning.loggers import CSVLogger

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.collector import paused_collector
from tests.conftest import train

PACKAGE = "lightning_profile."


def test_no_collection_while_a_window_is_read(tmp_path: Path) -> None:
    is_enabled: dict[str, list[bool]] = {"reading": [], "training": []}

    class Logger(CSVLogger):
        def log_metrics(self, *_: object, **__: object) -> None:
            is_enabled["reading"].append(gc.isenabled())

    class Look(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            is_enabled["training"].append(gc.isenabled())

    profiler = LayerProfiler("Conv2d-2", Schedule(wait=1, warmup=1, active=1))
    train(tmp_path, profiler, Look(), logger=Logger(tmp_path), log_every_n_steps=1000)
    assert is_enabled["reading"] == [False]
    assert all(is_enabled["training"])
    assert gc.isenabled()


def test_nothing_that_a_window_is_read_into_waits_for_the_collector(tmp_path: Path) -> None:
    profiler = LayerProfiler("all", Schedule(wait=1, warmup=1, active=2), trace=True)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        kept = train(tmp_path, profiler)  # the trainer is what it always was: full of cycles
        gc.collect()
        ours = {kind for each in gc.garbage if (kind := type(each)).__module__.startswith(PACKAGE)}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert kept
    assert not ours


def test_a_collector_that_was_off_stays_off_also_after_an_error() -> None:
    with pytest.raises(KeyError), paused_collector():
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with paused_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
