"""The wall time of steps that nobody records, and the peaks of memory, during a point's training.

Times of layers come from the recorded steps; a recorded step itself takes longer than others.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_profile.schedule import Schedule
from lightning_profile.study.memory import capacity_bytes, page_faults, peaks, reset_peaks

_UNTYPICAL = 2  # steps at the start of a training, and after the reading of a window
_BLOCK = 3  # steps; a GPU is waited for between blocks only, as it is ahead of the host


class StepClock(Callback):
    """Times blocks of steps outside of the profiler's window.

    Args:
        schedule: The profiler's.
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule
        self._blocks_ns: list[float] = []  # per step
        self._faults: list[float] = []  # per step
        self._window = range(0)
        self._started: tuple[int, int, int | None] | None = None  # step, time, faults
        self.capacity_bytes: int | None = None
        self._peaks: dict[str, int] = {}

    @property
    def values(self) -> dict[str, float]:
        """Wall time and page faults per step and peaks, by name; the unknown is left out."""
        times = {"wall_time_ns": median(self._blocks_ns)} if self._blocks_ns else {}
        faults = {"page_faults": round(median(self._faults))} if self._faults else {}
        return {**times, **self._peaks, **faults}

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Least and greatest wall time per step over the blocks."""
        blocks = self._blocks_ns
        return {"wall_time_ns": (min(blocks), max(blocks))} if blocks else {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the peaks begin here: what is before belongs to no batch size."""
        self.capacity_bytes = capacity_bytes(pl_module.device)
        reset_peaks(pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find this epoch's window."""
        schedule = self._schedule.shrink_to(int(trainer.num_training_batches))
        self._window = range(schedule.wait, schedule.steps)
        self._started = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End a block and begin the next; the epoch's last step, maybe smaller, is in none."""
        window, started = self._window, self._started
        is_after_reading = window.stop <= batch_idx < window.stop + _UNTYPICAL
        if batch_idx in window or batch_idx < _UNTYPICAL or is_after_reading:
            self._started = None
            return
        if started is not None:
            first, started_ns, faults_before = started
            if batch_idx - first < _BLOCK and batch_idx + 1 != window.start:
                return
            self._blocks_ns.append((_now_ns(pl_module.device) - started_ns) / (batch_idx - first))
            faults = page_faults()
            if faults is not None and faults_before is not None:
                self._faults.append((faults - faults_before) / (batch_idx - first))
        self._started = batch_idx, _now_ns(pl_module.device), page_faults()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the peaks."""
        self._peaks = peaks(pl_module.device)


def _now_ns(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter_ns()
