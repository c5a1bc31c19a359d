"""When the window of a stage opens and closes; one stage, all of its epochs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from lightning_profile.compiled_step import has_graph_without_wrapper, step_invocation
from lightning_profile.measurement import (
    ChromeTrace,
    Invocation,
    LostWindowError,
    OtherProfilers,
    Recording,
    Window,
    batch_size,
    detaches_cupti,
)
from lightning_profile.records import Layer
from lightning_profile.schedule import Schedule
from lightning_profile.window_limits import OF_PROCESS, Thinning, TimeBudget

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule
    from torch import Tensor

    from lightning_profile.step_capture import StepCapture

_NEVER = math.inf
_OVERDRAWN, _RARER = "overdrawn", "rarer"  # what is said of limits once in each training


@dataclass(frozen=True, slots=True)
class RecordedWindow:
    """A closed window.

    Attributes:
        recording: What it saw.
        batch_sizes: The size of the batch in each of its steps.
        trace: The same for a file, if it was asked for; it holds all that was recorded in memory.
    """

    recording: Recording
    batch_sizes: dict[int, int | None]
    trace: ChromeTrace | None = None


class StageRecorder:
    """Opens one window per epoch, as the schedule says.

    Args:
        schedule: When in an epoch the window is open.
        step_method: The model's method that a step calls, such as ``training_step``.
        has_trace: Whether the trace of each window is to be written.

    Attributes:
        wake_at: The batch from which on there is something to do: the one comparison that a
            step outside of the window costs.
        has_tried: Whether the time for a window ever came in this training.
        budget: The time that windows take.
        capture: What captures the step before each window; ``None`` if nothing does.
    """

    def __init__(self, schedule: Schedule, step_method: str, *, has_trace: bool = False) -> None:
        self.wake_at: float = _NEVER
        self.has_tried = False
        self.capture: StepCapture | None = None
        self._open_at: float = _NEVER
        self._step_method = step_method
        self._step_name = step_method.replace("_", " ")
        self._has_trace = has_trace
        self._step_invocation: Invocation | None = None
        self._schedule = schedule
        self._plan = schedule
        self.budget = TimeBudget()
        self._thinning: Thinning | None = None
        self._detaches_cupti = False
        self._has_had_window = False  # in this training
        self._others = OtherProfilers()
        self._said: set[str] = set()
        self._window: Window | None = None
        self._batch_sizes: dict[int, int | None] = {}
        self._record_from: float = _NEVER

    @property
    def is_open(self) -> bool:
        """Whether a step is recorded or captured."""
        return self._window is not None or (self.capture is not None and self.capture.is_open)

    def begin_training(self, device: torch.device, max_share: float | None) -> None:
        """A training begins.

        Args:
            device: Where the model trains.
            max_share: The most of its time that windows of this stage may take; ``None`` for no
                limit.
        """
        self.budget.start(max_share)
        is_limited = self._schedule.max_share is not None
        self._detaches_cupti = detaches_cupti(device)
        self._thinning = OF_PROCESS if is_limited and self._detaches_cupti else None
        self.has_tried = self._has_had_window = False
        self._said -= {_OVERDRAWN, _RARER}

    def plan(self, epoch_steps: float, *, first: int = 0) -> None:
        """Plan the window of an epoch.

        Args:
            epoch_steps: Batches to come, ``inf`` if unknown.
            first: The number of the first of them; not 0 in an epoch that is resumed.
        """
        if not epoch_steps:
            return
        if self._is_left_out():
            self.wake_at = _NEVER
            return
        self._plan = self._schedule
        if epoch_steps < self._schedule.steps:
            self._plan = self._schedule.shrink_to(int(epoch_steps))
            self._say_once(
                "shrunk",
                f"a window of {self._schedule} needs {self._schedule.steps} steps but the epoch "
                f"has {epoch_steps:.0f}: shrunk to {self._plan}",
            )
        self._open_at = self.wake_at = first + self._plan.wait
        if self.capture is not None and self._plan.wait:
            self.wake_at -= 1

    def begin_step(
        self, layers: Sequence[Layer], model: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """A batch begins at which there is something to do."""
        if self.capture is not None and batch_idx < self._open_at:
            self.capture.begin_step(layers)
            return
        self.has_tried = True
        if self._window is None:
            if self.capture is not None and not self._plan.wait:
                self.capture.refuse(layers)
            steps = self._plan.warmup + self._plan.active
            other = self._others.in_the_way(steps, self._step_method)
            if other is not None:
                self.wake_at = _NEVER
                self._say_skipped(other, f"{other} is recording or about to")
                return
            self._has_had_window = True
            if self._thinning is not None:
                self._thinning.window_opens(self._step_method)
            self._batch_sizes = {}
            self._record_from = batch_idx + self._plan.warmup
            self._window = Window(layers, model.device)
            if self._detaches_cupti:  # to attach it anew waits for the device
                self._wait_for_device(self._window)
            self._window.warm_up()
        if batch_idx >= self._record_from:
            if not self._batch_sizes:
                try:
                    self._window.start()
                except LostWindowError as lost:
                    self.close()
                    self._say_skipped("lost", str(lost))
                    return
                self._step_invocation = (
                    step_invocation(model, self._step_method, batch, batch_idx)
                    if has_graph_without_wrapper(layers)
                    else None
                )
            self._batch_sizes[batch_idx] = batch_size(batch)
            self._window.begin_step(batch_idx)

    def before_backward(self, loss: Tensor) -> None:
        """The gradients of ``loss`` are about to be computed."""
        if self._window is not None:
            self._window.before_backward(loss)

    def end_step(self) -> bool:
        """A batch has ended; whether it was the window's last."""
        if self.capture is not None:
            self.capture.close_step()
        if self._window is None or not self._batch_sizes:
            return False
        self._window.end_step()
        return len(self._batch_sizes) == self._plan.active

    def finish(self) -> RecordedWindow | None:
        """Close the window and read it; ``None`` if there is nothing to read, which is said."""
        if self._window is None:
            self.close()
            return None
        if not self._batch_sizes:
            self.close()
            warnings.warn("the window ended in its warm-up: no layer profile", stacklevel=2)
            return None
        try:
            self._wait_for_device(self._window)
            recording = self._window.finish()
            trace = self._window.chrome_trace(self._step_name) if self._has_trace else None
        except LostWindowError as lost:
            self._say_skipped("lost", str(lost))
            return None
        finally:
            self.close()
        if self._step_invocation is not None:
            recording = replace(recording, invocations=(self._step_invocation,))
        return RecordedWindow(recording, self._batch_sizes, trace)

    def close(self) -> None:
        """Give the window up, if there is one; nothing is left behind."""
        self.wake_at = _NEVER
        if self.capture is not None:
            self.capture.close_step()
        if self._window is None:
            return
        try:
            self._window.close()
        except Exception:  # but an interrupt leaves it, to be closed again
            self._window = None
            raise
        self._window = None

    def _wait_for_device(self, window: Window) -> None:
        """What the device has yet to do would take its time without a window, too."""
        with self.budget.waiting():
            window.wait_for_device()

    def _is_left_out(self) -> bool:
        """Whether the epoch that begins is to have no window, which is said."""
        rarer = None
        if self._thinning is not None:
            self._thinning.epoch_begins(self._step_method)
            if self._has_had_window:
                rarer = self._thinning.leaves_out(self._step_method)
        overdrawn = self.budget.overdrawn
        if overdrawn is not None:
            stage, _, _ = self._step_name.partition(" ")
            self._say_skipped(_OVERDRAWN, f"the {stage}'s {overdrawn}")
        elif rarer is not None:
            self._say_skipped(_RARER, rarer)
        return overdrawn is not None or rarer is not None

    def _say_skipped(self, key: str, reason: str) -> None:
        self._say_once(
            key, f"{reason}: this epoch, and each one where that is so, has no layer profile"
        )

    def _say_once(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            warnings.warn(text, stacklevel=3)
