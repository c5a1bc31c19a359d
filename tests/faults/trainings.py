"""Trainings in processes of their own, forked from one server that has imported everything."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_profile import LayerProfiler, Schedule
from tests.conftest import train

SCHEDULE = Schedule(wait=1, warmup=1, active=2, max_share=None)
WINDOW_ROWS = 6  # two layers, forward and backward, the optimizer, and the rest of the step

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])


class Tell(Callback):
    """Sends the number of each epoch that ends, and how far the training is in it."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.pipe.send((trainer.current_epoch, batch_idx))


class At(Callback):
    """Does something at the start of an epoch."""

    def __init__(self, epoch: int, action: Callable[[Trainer], object]) -> None:
        self.epoch, self.action = epoch, action

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            self.action(trainer)


def start(
    folder: Path, epochs: int, version: int | None = 0, *, figures: bool = False
) -> tuple[Any, Connection]:
    """A training that tells its steps; in the logger's ``version``, ``None`` for the next."""
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=_train, args=(folder, epochs, version, figures, theirs))
    process.start()
    theirs.close()
    return process, ours


def _train(folder: Path, epochs: int, version: int | None, figures: bool, pipe: Connection) -> None:
    torch.set_num_threads(1)
    tempfile.tempdir = str(folder)  # what a kill leaves there goes with the test
    os.chdir(folder)  # tells its processes from those of other trainings
    with (folder / "output.txt").open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    warnings.simplefilter("always")
    train(
        folder,
        LayerProfiler(["Conv2d-1", "Conv2d-2"], SCHEDULE, figures=figures, trace=True),
        Tell(pipe),
        logger=TensorBoardLogger(folder, name="runs", version=version),
        max_epochs=epochs,
    )


def wait_until(told: Connection, epoch: int, step: int = 0) -> None:
    """Return once the training has come so far."""
    while told.recv() < (epoch, step):
        pass


def run_with(folder: Path, *faults: str) -> tuple[list[str], int]:
    """Four epochs without a logger, with ``faults`` from the second epoch up to the fourth.

    Returns:
        The warnings, and the training's steps.
    """
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=_train_with, args=(folder, faults, theirs))
    process.start()
    theirs.close()
    process.join()
    result: tuple[list[str], int] = ours.recv()
    return result


def _train_with(folder: Path, faults: tuple[str, ...], pipe: Connection) -> None:
    torch.set_num_threads(1)
    callbacks = [
        callback for fault in faults for callback in (At(1, FAULTS[fault]), At(3, MENDS[fault]))
    ]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        _, trainer = train(
            folder,
            LayerProfiler(["Conv2d-1", "Conv2d-2"], SCHEDULE, trace=True),
            *callbacks,
            logger=False,
            max_epochs=4,
        )
    texts = [str(each.message) for each in warned]
    pipe.send(([text for text in texts if "layer profile" in text], trainer.global_step))


def run_folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "lightning_profile" / "version_0"


def _fill_disk(trainer: Trainer) -> None:
    """No file can grow by more than a part of what is to come."""
    size = (run_folder(trainer) / "layer_profile.csv").stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))


def _leave_no_room_for_a_trace(trainer: Trainer) -> None:
    """But for all else: the profiler's own file is a hundred times as large as the table."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))


def _empty_disk(trainer: Trainer) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def _make_read_only(trainer: Trainer) -> None:
    for path in (*run_folder(trainer).iterdir(), run_folder(trainer)):
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.geteuid() == 0:  # whom no permission stops
        os.seteuid(65534)


def _make_writable(trainer: Trainer) -> None:
    os.seteuid(os.getuid())
    for path in (run_folder(trainer), *run_folder(trainer).iterdir()):
        path.chmod(0o700 if path.is_dir() else 0o600)


def _delete(trainer: Trainer) -> None:
    shutil.rmtree(run_folder(trainer))


def _nothing(trainer: Trainer) -> None:
    pass


FAULTS = {
    "full disk": _fill_disk,
    "no room for a trace": _leave_no_room_for_a_trace,
    "read-only": _make_read_only,
    "deleted": _delete,
}
MENDS = {
    "full disk": _empty_disk,
    "no room for a trace": _empty_disk,
    "read-only": _make_writable,
    "deleted": _nothing,
}


def kill_after(process: Any, seconds: float) -> None:
    """Wait, then kill it with the signal that can't be caught."""
    time.sleep(seconds)
    process.kill()
    process.join()


def drain(told: Connection) -> list[tuple[int, int]]:
    """Everything that was told."""
    steps = []
    with contextlib.suppress(EOFError, OSError):
        while True:
            steps.append(told.recv())
    return steps
