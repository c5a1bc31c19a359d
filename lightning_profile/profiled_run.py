"""One run of a Trainer with the callback: what reads its windows, and where the results go."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_profile.attribution import layers_of_nodes
from lightning_profile.collector import paused_collector
from lightning_profile.measurement import ChromeTrace, is_profiler_running
from lightning_profile.options import VALIDATE
from lightning_profile.pipeline import Analyst
from lightning_profile.ranks import RankGatherer
from lightning_profile.report import RunFolder, RunReport, quantities_by_row
from lightning_profile.schedule import Schedule
from lightning_profile.selection import Selection
from lightning_profile.stage_recorder import RecordedWindow, StageRecorder
from lightning_profile.trainer_facts import dataset_name

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer

    from lightning_profile.counters import LayerPhase
    from lightning_profile.records import HardwareCount, Unavailable

Count = Callable[[], "Mapping[LayerPhase, HardwareCount | Unavailable]"]


class ProfiledRun:
    """From the start of a training, or of a validation by itself, to its end.

    Args:
        selection: The layers that were asked for, as found in the model.

    Attributes:
        layers: The watched layers.
        folder: Where the files go; ``None`` for no files, and before :meth:`open_report`.
    """

    def __init__(self, selection: Selection) -> None:
        self.layers = selection.watched
        self.folder: RunFolder | None = None
        self._selection = selection
        self._analyst = Analyst()
        self._ranks = RankGatherer()
        self._report: RunReport | None = None

    def find_ceilings(
        self, trainer: Trainer, model: LightningModule, *, has_empirical: bool
    ) -> None:
        """Look up or measure what the device can do at best."""
        # Processes that share a device would measure each other, and a profiler us.
        self._analyst.limits.find(
            model.device,
            may_measure=trainer.is_global_zero and not is_profiler_running(),
            has_empirical=has_empirical,
        )

    def open_report(
        self, trainer: Trainer, schedule: Schedule, *, has_pictures: bool, has_trace: bool
    ) -> None:
        """Connect the places that results go to, and say what will be profiled."""
        log_dir = trainer.log_dir  # on every rank: it is broadcast
        if not trainer.is_global_zero:
            return
        self._report = RunReport(
            self._selection.rows,
            schedule,
            is_resumed=trainer.ckpt_path is not None,
            has_pictures=has_pictures,
            has_trace=has_trace,
        )
        self.folder = _run_folder(trainer, log_dir)
        self._report.open(trainer.loggers, self.folder)
        self._report.announce(self._selection.resolved)

    @paused_collector()
    def read(
        self,
        stage: str,
        recorder: StageRecorder,
        trainer: Trainer,
        model: LightningModule,
        count: Count,
    ) -> None:
        """Close the window of ``recorder``, analyse what it recorded, and report it.

        Args:
            stage: ``train`` or ``validate``.
            recorder: Of that stage.
            trainer: The trainer.
            model: The model.
            count: What the hardware's counters say, by layer and phase.
        """
        started_ns = time.perf_counter_ns()
        window = recorder.finish()
        if window is None:
            return
        closed_ns = time.perf_counter_ns()
        hardware = count()
        started_ns += time.perf_counter_ns() - closed_ns  # another program's time is no reading
        result = self._analyst.analyse(
            window.recording,
            layers=self.layers,
            optimizers=trainer.optimizers,
            device=model.device,
            batch_sizes=window.batch_sizes,
            dataset=dataset_name(trainer, stage),
            stage=stage,
            epoch=trainer.current_epoch,
            global_step=trainer.global_step,
            hardware=hardware,
        )
        if trainer.world_size > 1:
            spreads = self._ranks.gather(
                f"{stage} {result.epoch} {result.global_step}", quantities_by_row(result)
            )
            result = replace(result, spreads=spreads)
        if self._report is not None:
            reading_time_ns = time.perf_counter_ns() - started_ns
            result = replace(result, reading_time_ns=reading_time_ns)
            self._report.write(result, _with_backward_names(window))

    def warn_of_missed(
        self,
        stages: Mapping[str, StageRecorder],
        schedule: Schedule,
        *,
        after_training: bool,
    ) -> None:
        """Say which of the stages never had a window.

        Args:
            stages: By name.
            schedule: As it was asked for.
            after_training: Whether a training has ended; a validation alone has no other stage.
        """
        missed = [name for name, each in stages.items() if not each.has_tried]
        if len(missed) == len(stages):
            text = (
                f"the training ended before a window opened ({schedule}): there is no layer profile"
            )
        elif missed == [VALIDATE] or (missed and after_training):
            text = f"no window opened in {missed[0]} ({schedule}): it has no layer profile"
        else:
            return
        warnings.warn(text, stacklevel=3)

    def print_summary(self) -> None:
        """Print the table of the last window; once."""
        if self._report is not None:
            self._report.print_summary()

    def close(self) -> None:
        """Bring the report to its end; safe more than once."""
        if self._report is not None:
            self._report.close()


def _with_backward_names(window: RecordedWindow) -> ChromeTrace | None:
    if window.trace is None:
        return None
    recording = window.recording
    return replace(window.trace, layers_of_nodes=layers_of_nodes(recording.ops, recording.calls))


def _run_folder(trainer: Trainer, log_dir: str | None) -> RunFolder | None:
    """Where the files go: a logger's own folder of this run, or else a new one.

    Not every logger has a folder per run: ``trainer.log_dir`` is then one for all runs.
    """
    is_dry_run: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
    if is_dry_run:  # Lightning writes nothing then, and neither do we
        return None
    if log_dir is not None and getattr(trainer.logger, "log_dir", None) is not None:
        return RunFolder(Path(log_dir).parent, Path(log_dir).name)
    parent = Path(trainer.default_root_dir) / "lightning_profile"
    if not trainer.loggers:
        warnings.warn(
            "the training has no logger, so there are no charts; the layer profile goes to "
            f"{parent}",
            stacklevel=2,
        )
    return RunFolder(parent)
