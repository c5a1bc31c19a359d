"""One point's training: from a batch size to a :class:`Point`, whatever happens in between."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer

from lightning_profile.callback import LayerProfiler
from lightning_profile.comparison import product_kind
from lightning_profile.faults import describe_fault
from lightning_profile.study import window
from lightning_profile.study.clock import StepClock
from lightning_profile.study.out_of_memory import is_out_of_memory, requested_bytes
from lightning_profile.study.point import STEP_NAME, Point, Row

TRIAL_BATCHES = 2  # that a batch fits is known after one; the second has the optimizer's state


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training that is ready to begin.

    Attributes:
        trainer: With a :class:`~lightning_profile.LayerProfiler` among its callbacks.
        model: Fresh, its weights drawn from the study's seed.
        data: What ``Trainer.fit`` takes: a data module, or a loader.
    """

    trainer: Trainer
    model: LightningModule
    data: Any

    @property
    def profiler(self) -> LayerProfiler:
        """The one among the callbacks.

        Raises:
            ValueError: If there is none, or there are several processes.
        """
        if self.trainer.world_size > 1:
            raise ValueError(
                f"a study trains in one process on one device, not in {self.trainer.world_size}: "
                "set trainer.devices to 1"
            )
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        found = [each for each in callbacks if isinstance(each, LayerProfiler)]
        if not found:
            raise ValueError("a study measures layers, so its trainings need a LayerProfiler")
        return found[0]


Prepare = Callable[[int], Training]


def train_point(prepare: Prepare, batch_size: int, *, is_trial: bool = False) -> Point:
    """Train with ``batch_size`` and say what it cost.

    Args:
        prepare: Makes the training.
        batch_size: Samples per step.
        is_trial: Whether to see only if it fits: a few batches, and no measurement.

    Returns:
        The point. An error of the training is in it, not raised.
    """
    started = time.perf_counter()
    try:
        point = _train(prepare, batch_size, is_trial=is_trial)
    except Exception as error:
        if not is_out_of_memory(error):
            return Point(
                batch_size=batch_size,
                status="failed",
                message=describe_fault(error),
                is_trial=is_trial,
                duration_s=time.perf_counter() - started,
            )
        message, asked = _first_sentences(error), requested_bytes(error)
        error.__traceback__ = None  # its frames hold the tensors
    else:
        return point
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return Point(
        batch_size=batch_size,
        status="out of memory",
        message=message,
        requested_bytes=asked,
        is_trial=is_trial,
        duration_s=time.perf_counter() - started,
    )


def _train(prepare: Prepare, batch_size: int, *, is_trial: bool) -> Point:
    started = time.perf_counter()
    training = prepare(batch_size)
    trainer, profiler = training.trainer, training.profiler
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    clock = StepClock(profiler.schedule)
    callbacks.append(clock)
    if is_trial:
        callbacks.remove(profiler)
        trainer.limit_train_batches = TRIAL_BATCHES
    _fit(training)
    point = Point(
        batch_size=batch_size,
        status="finished",
        is_trial=is_trial,
        duration_s=time.perf_counter() - started,
    )
    if is_trial:
        return point
    measured = _with_measurements(point, training, clock)
    if clock.ranges:
        return measured
    # Its epoch is too short for steps beside the recorded ones.
    del training, trainer, callbacks
    gc.collect()
    try:
        return _with_wall_time(measured, prepare)
    except Exception as error:  # the point is whole without it
        return replace(measured, message=f"without a wall time: {describe_fault(error)}")


def _with_wall_time(point: Point, prepare: Prepare) -> Point:
    """``point`` with the wall time of a second training, in which nothing is recorded."""
    training = prepare(point.batch_size)
    callbacks: list[Any] = training.trainer.callbacks  # type: ignore[attr-defined]
    callbacks.remove(training.profiler)
    clock = StepClock(None)
    callbacks.append(clock)
    training.trainer.loggers = []  # the run's files are those of the first
    _fit(training)
    step, *others = point.rows
    values = {**clock.values, **step.values}  # the peaks stay the first training's
    return replace(point, rows=(replace(step, values=values, ranges=clock.ranges), *others))


def _fit(training: Training) -> None:
    if hasattr(training.data, "prepare_data"):
        training.trainer.fit(training.model, datamodule=training.data)
    else:
        training.trainer.fit(training.model, training.data)


def _with_measurements(point: Point, training: Training, clock: StepClock) -> Point:
    folder = training.profiler.folder
    if folder is None:
        raise ValueError("the training wrote no files: a study needs a log folder")
    run, last = window.read_window(folder)
    if last["batch_size"] != point.batch_size:
        raise ValueError(
            f"the training's batches have {last['batch_size']} samples, not {point.batch_size}"
        )
    values = {**window.peaks_of_step(last), **clock.values}
    step = Row(layer=STEP_NAME, values=values, ranges=clock.ranges)
    products = _products(dict(training.model.named_modules()))
    return Point(
        batch_size=point.batch_size,
        status="finished",
        machine=window.machine(run, last, clock.capacity_bytes),
        dataset=last["dataset"],
        run_folder=str(folder),
        duration_s=point.duration_s,
        rows=(step, *window.rows(run, last, products)),
    )


def _products(modules: Mapping[str, torch.nn.Module]) -> dict[str, tuple[str, int]]:
    return {
        name: (product_kind(module), int(getattr(module, "groups", 1)))
        for name, module in modules.items()
        if not any(True for _ in module.children())
    }


def _first_sentences(error: BaseException) -> str:
    """The message without CUDA's advice on settings, on one line."""
    text = " ".join(str(error).split())
    return text.partition(" If reserved but unallocated memory")[0]
