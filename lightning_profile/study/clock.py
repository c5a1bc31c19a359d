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
from lightning_profile.study.memory import capacity_bytes, peaks, reset_peaks
from lightning_profile.study.process_usage import Usage, usage

_UNTYPICAL = 2  # steps at the start of a training, and after the reading of a window
_BLOCK = 3  # steps; a GPU is waited for between blocks only, as it is ahead of the host


class StepClock(Callback):
    """Times blocks of steps outside of the profiler's window.

    Args:
        schedule: The profiler's; ``None`` if nothing is recorded.
    """

    def __init__(self, schedule: Schedule | None) -> None:
        super().__init__()
        self._schedule = schedule
        self._blocks_ns: list[float] = []  # per step
        self._counts: dict[str, list[float]] = {}  # per step, by name
        self._window = range(0)
        self._last = 0  # step of the epoch
        self._started: tuple[int, int, Usage | None] | None = None  # step, time
        self.capacity_bytes: int | None = None
        self._peaks: dict[str, int] = {}

    @property
    def values(self) -> dict[str, float]:
        """Per step wall time, page faults, interruptions; peaks. The unknown is left out."""
        times = {"wall_time_ns": median(self._blocks_ns)} if self._blocks_ns else {}
        counts = {name: round(median(each)) for name, each in self._counts.items()}
        return {**times, **self._peaks, **counts}

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
        self._started = None
        self._last = int(trainer.num_training_batches) - 1
        if self._schedule is not None:
            schedule = self._schedule.shrink_to(int(trainer.num_training_batches))
            self._window = range(schedule.wait, schedule.steps)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End a block and begin the next; the epoch's last step, maybe smaller, is in none."""
        window, started = self._window, self._started
        is_after_reading = bool(window) and window.stop <= batch_idx < window.stop + _UNTYPICAL
        if batch_idx in window or batch_idx < _UNTYPICAL or is_after_reading:
            self._started = None
            return
        if started is not None:
            first, started_ns, before = started
            steps = batch_idx - first
            if steps < _BLOCK and batch_idx not in (window.start - 1, self._last):
                return
            self._blocks_ns.append((_now_ns(pl_module.device) - started_ns) / steps)
            self._count(before, usage(), steps)
        self._started = batch_idx, _now_ns(pl_module.device), usage()

    def _count(self, before: Usage | None, after: Usage | None, steps: int) -> None:
        if before is not None and after is not None:
            for name in ("page_faults", "interruptions"):
                count = (getattr(after, name) - getattr(before, name)) / steps
                self._counts.setdefault(name, []).append(count)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the peaks."""
        self._peaks = peaks(pl_module.device)


def _now_ns(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter_ns()
