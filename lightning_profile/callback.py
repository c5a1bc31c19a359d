"""LayerProfiler: Lightning's hooks on one side, the stages of the pipeline on the other."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_profile.faults import describe_fault
from lightning_profile.measurement import Window, batch_size, is_profiler_running
from lightning_profile.pipeline import analyse
from lightning_profile.records import Layer
from lightning_profile.report import RunReport, new_version
from lightning_profile.schedule import Schedule
from lightning_profile.selection import select_layers

_NEVER = math.inf


class LayerProfiler(Callback):
    """Shows, every epoch, what layers should cost beside what they do cost.

    In each training epoch one short window of steps is recorded with torch.profiler, attributed
    to the layers, compared with theory, and written to the training's loggers and to
    ``layer_profile.csv`` and ``layer_profile.json`` in its log folder. Outside of the window the
    training runs as if the callback were not there. The training is never changed, and never
    ended by a fault of the callback: it warns once and stops profiling.

    Args:
        layers: Display name (``Conv2d-2``, the second Conv2d in definition order) or qualified
            name (``backbone.conv2``) of one or several layers.
        schedule: When in an epoch the window is open.

    Raises:
        LayerSelectionError: Before the first step, if a name matches no layer.
    """

    def __init__(self, layers: str | Sequence[str], schedule: Schedule | None = None) -> None:
        super().__init__()
        self._patterns = [layers] if isinstance(layers, str) else list(layers)
        self._schedule = schedule or Schedule()
        self._layers: list[Layer] = []
        self._report: RunReport | None = None
        self._is_active = False  # between the start of fit and its end, or a fault of ours
        self._window: Window | None = None
        self._plan = self._schedule
        self._has_said_shrunk = False
        self._batch_sizes: dict[int, int | None] = {}
        # The batch from which on there is something to do: the one comparison of other steps.
        self._wake_at: float = _NEVER
        self._record_from: float = _NEVER

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers, and say what will be profiled and where the results go.

        This late because a model may build its layers in ``setup`` or ``configure_model``.
        """
        self._layers = select_layers(pl_module, self._patterns)
        self._is_active = not _has_profiler_of_its_own(trainer)
        if self._is_active:
            self._guard(lambda: self._open_report(trainer))
        else:
            warnings.warn(
                "the Trainer's own profiler uses torch.profiler, and two at once may crash: this "
                "training has no layer profile",
                stacklevel=2,
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan this epoch's window."""
        if self._is_active:
            self._guard(lambda: self._plan_window(_steps_to_come(trainer)))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Open the window, or begin a step in it."""
        if batch_idx >= self._wake_at:
            self._guard(lambda: self._begin_step(pl_module.device, batch, batch_idx))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """End a step of the window, and report once it was the last."""
        if self._window is not None:
            self._guard(lambda: self._end_step(trainer, pl_module))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report before a validation inside of the epoch, rather than record all of it."""
        if self._window is not None:
            self._guard(lambda: self._finish_window(trainer, pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report a window that the epoch's end has cut short."""
        if self._window is not None:
            self._guard(lambda: self._finish_window(trainer, pl_module))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing behind; what finished windows wrote is on disk already."""
        self._guard(self._close_window)
        if isinstance(exception, KeyboardInterrupt):
            self._guard(self._print_summary)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave nothing behind, and print the table of the last window."""
        self._guard(self._close_window)
        self._guard(self._print_summary)

    def _open_report(self, trainer: Trainer) -> None:
        log_dir = trainer.log_dir  # on every rank: it is broadcast
        if not trainer.is_global_zero:
            return
        self._report = RunReport(self._layers, self._schedule)
        self._report.open(trainer.loggers, _run_folder(trainer, log_dir))

    def _plan_window(self, epoch_steps: float) -> None:
        self._plan = self._schedule
        if epoch_steps < self._schedule.steps:
            self._plan = self._schedule.shrink_to(int(epoch_steps))
            if not self._has_said_shrunk:
                self._has_said_shrunk = True
                warnings.warn(
                    f"a window of {self._schedule} needs {self._schedule.steps} steps but the "
                    f"epoch has {epoch_steps:.0f}: shrunk to {self._plan}",
                    stacklevel=2,
                )
        self._wake_at = self._plan.wait

    def _begin_step(self, device: torch.device, batch: Any, batch_idx: int) -> None:
        if self._window is None:
            if is_profiler_running():
                self._wake_at = _NEVER
                warnings.warn(
                    "another profiler is recording, so this epoch has no layer profile",
                    stacklevel=2,
                )
                return
            self._batch_sizes = {}
            self._record_from = batch_idx + self._plan.warmup
            self._window = Window(self._layers, device)
            self._window.warm_up()
        if batch_idx >= self._record_from:
            if not self._batch_sizes:
                self._window.start()
            self._batch_sizes[batch_idx] = batch_size(batch)
            self._window.begin_step(batch_idx)

    def _end_step(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._window is None or not self._batch_sizes:
            return
        self._window.end_step()
        if len(self._batch_sizes) == self._plan.active:
            self._finish_window(trainer, pl_module)

    def _finish_window(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._wake_at = _NEVER
        window, self._window = self._window, None
        if window is None:
            return
        if not self._batch_sizes:
            window.close()
            warnings.warn("the window ended in its warm-up: no layer profile", stacklevel=2)
            return
        started_ns = time.perf_counter_ns()
        result = analyse(
            window.finish(),
            layers=self._layers,
            optimizers=trainer.optimizers,
            device=pl_module.device,
            batch_sizes=self._batch_sizes,
            dataset=_dataset_name(trainer),
            epoch=trainer.current_epoch,
            global_step=trainer.global_step,
        )
        if self._report is not None:
            reading_time_ns = time.perf_counter_ns() - started_ns
            self._report.write(replace(result, reading_time_ns=reading_time_ns))

    def _print_summary(self) -> None:
        if self._report is not None:
            self._report.print_summary()

    def _close_window(self) -> None:
        self._wake_at = _NEVER
        window, self._window = self._window, None
        if window is not None:
            window.close()

    def _guard(self, action: Callable[[], None]) -> None:
        """Run ``action``; a fault of ours ends the profile, never the training."""
        try:
            action()
        except Exception as fault:
            self._is_active = False
            with contextlib.suppress(Exception):  # it may be the closing that failed
                self._close_window()
            warnings.warn(  # last: it raises where warnings are errors
                f"the layer profile stops here, the training goes on: {describe_fault(fault)}",
                stacklevel=3,
            )


def _run_folder(trainer: Trainer, log_dir: str | None) -> Path | None:
    """Where the files go: a logger's own folder of this run, or else a new folder.

    Not every logger has a folder per run: ``trainer.log_dir`` is then one for all runs.
    """
    is_dry_run: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
    if is_dry_run:  # Lightning writes nothing then, and neither do we
        return None
    if log_dir is not None and hasattr(trainer.logger, "log_dir"):
        return Path(log_dir)
    parent = Path(trainer.default_root_dir) / "lightning_profile"
    if not trainer.loggers:
        warnings.warn(
            f"the training has no logger, so there are no charts; the layer profile is in {parent}",
            stacklevel=2,
        )
    return new_version(parent)


def _has_profiler_of_its_own(trainer: Trainer) -> bool:
    """Whether the Trainer records with torch.profiler; by name, as Lightning has two packages."""
    profiler: object = trainer.profiler  # type: ignore[attr-defined]
    return any(kind.__name__ == "PyTorchProfiler" for kind in type(profiler).__mro__)


def _steps_to_come(trainer: Trainer) -> float:
    """Batches that this epoch will train on, as far as that is known."""
    steps = float(trainer.num_training_batches)
    if trainer.max_steps >= 0:
        left = trainer.max_steps - trainer.global_step
        steps = min(steps, left * trainer.accumulate_grad_batches)
    return max(1, steps)


def _dataset_name(trainer: Trainer) -> str | None:
    """The training data's own name if it has one, otherwise its class name."""
    dataset = getattr(trainer.train_dataloader, "dataset", None)
    if dataset is None:
        return None
    name = getattr(dataset, "name", None)
    return name if isinstance(name, str) else type(dataset).__name__
