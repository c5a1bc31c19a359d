"""LayerProfiler: Lightning's hooks on one side, the stages of the pipeline on the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from pytorch_lightning import Callback, LightningModule, Trainer
except ImportError:  # the same classes in the other of Lightning's two packages
    from lightning.pytorch import (  # type: ignore[assignment]
        Callback,
        LightningModule,
        Trainer,
    )

from lightning_profile.faults import Guard
from lightning_profile.options import (
    TRAIN,
    VALIDATE,
    check_schedule,
    check_switch,
    list_stages,
    wants_counters,
)
from lightning_profile.schedule import Schedule
from lightning_profile.selection import Pattern, list_patterns, select_layers
from lightning_profile.trainer_facts import steps_to_come

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_profile.counters import LayerPhase
    from lightning_profile.profiled_run import ProfiledRun
    from lightning_profile.records import HardwareCount, Unavailable
    from lightning_profile.report import RunFolder
    from lightning_profile.stage_recorder import StageRecorder


class LayerProfiler(Callback):
    """Shows, every epoch, what layers should cost beside what they do cost.

    In each epoch one short window of steps is recorded with torch.profiler, attributed to the
    layers, compared with theory, and written to the training's loggers and to
    ``layer_profile.csv`` and ``layer_profile.jsonl`` in its log folder; where windows take too much
    of the time, some epochs have none (``schedule.max_share``). Outside of the window the training
    runs as if the callback were not there. The training is never changed, and never ended by a
    fault of the callback: it warns once, and tries again with the next window. Nor does another
    profiler of torch notice: while one is in use there is no window.

    Args:
        layers: One or several of: ``Conv2d-2`` (the second Conv2d in definition order), a
            qualified name (``backbone.conv2``), a glob (``encoder.*.attn``), a type by its name
            or as a class, or ``all``: every layer, and each container that runs operators of its
            own. By default every layer with parameters that has no layers inside.
        schedule: When in an epoch the window is open.
        stages: ``train``, ``validate`` or both: the epochs to look at.
        counters: ``"ncu"`` to have Nsight Compute count, on an NVIDIA GPU, what the layers
            execute: calls of the step before the window are repeated in another process, once per
            geometry, while the training waits.
        empirical_roofline: Whether to measure what the device reaches, in a second or two before
            the first training on a machine, where the vendor's peaks are known, too. Of other
            devices it is always measured.
        figures: Whether another process draws TensorBoard pictures, where matplotlib is installed.
        trace: Whether the last window's trace is written to the log folder, as
            ``trace_train.json.gz`` and ``trace_validate.json.gz``, for https://ui.perfetto.dev.

    Attributes:
        patterns: The layers as they were named; ``None`` for every layer with parameters.
        schedule: As above.

    Raises:
        LayerSelectionError: If a pattern is neither a string nor a class of modules; before the
            first step, if it selects nothing.
        TypeError: If ``schedule`` is no :class:`Schedule`, or a switch neither on nor off.
        ValueError: If a stage is unknown, or there is none, or if ``counters`` is unknown.
    """

    def __init__(
        self,
        layers: Pattern | Sequence[Pattern] | None = None,
        schedule: Schedule | None = None,
        stages: str | Sequence[str] = TRAIN,
        counters: str | None = None,
        empirical_roofline: bool = False,
        figures: bool = True,
        trace: bool = False,
    ) -> None:
        super().__init__()
        # What only a training needs is imported late: it takes longer than all the rest.
        from lightning_profile.stage_recorder import StageRecorder  # noqa: PLC0415

        self.patterns = None if layers is None else list_patterns(layers)
        self.schedule = check_schedule(schedule)
        self._has_counters = wants_counters(counters)
        self._has_empirical_roofline = check_switch("empirical_roofline", empirical_roofline)
        self._has_figures = check_switch("figures", figures)
        self._has_trace = check_switch("trace", trace)
        # A stage that is not asked for never wakes up.
        self._train = StageRecorder(self.schedule, "training_step", has_trace=trace)
        self._validate = StageRecorder(self.schedule, "validation_step", has_trace=trace)
        recorders = {TRAIN: self._train, VALIDATE: self._validate}
        self._stages = {name: recorders[name] for name in list_stages(stages)}
        self._run: ProfiledRun | None = None  # between the start of fit and its end
        self._folder: RunFolder | None = None
        self._guard = Guard(self._close_windows)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and files have of it: nothing of a training that goes on."""
        new = LayerProfiler(None, self.schedule, [*self._stages], trace=self._has_trace)
        own = {name: getattr(new, name) for name in ("_train", "_validate", "_stages", "_run")}
        folder = self._folder if self._run is None else None
        return {**self.__dict__, **own, "_folder": folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._guard = Guard(self._close_windows)  # its own windows

    @property
    def folder(self) -> Path | None:
        """Where the files of the last training are; ``None`` before there are any."""
        return None if self._folder is None else self._folder.path

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers, and say what will be profiled and where the results go.

        This late because a model may build its layers in ``setup`` or ``configure_model``.
        """
        selection = select_layers(pl_module, self.patterns)
        from lightning_profile.profiled_run import ProfiledRun  # noqa: PLC0415  (as above)

        run = self._run = ProfiledRun(selection)
        has_empirical = self._has_empirical_roofline
        self._guard(lambda: run.find_ceilings(trainer, pl_module, has_empirical=has_empirical))
        self._guard(lambda: self._prepare_counters(trainer))
        options = {"has_pictures": self._has_figures, "has_trace": self._has_trace}
        self._guard(lambda: run.open_report(trainer, self.schedule, **options))
        self._folder = run.folder
        self._guard(lambda: self._begin_stages(trainer, pl_module))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the rest of an epoch that is resumed; its start is not announced again."""

        def plan() -> None:
            first = trainer.fit_loop.epoch_loop.batch_progress.current.ready
            if 0 < first < trainer.num_training_batches:
                self._train.plan(steps_to_come(trainer, first), first=first)

        self._plan(TRAIN, plan)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan this epoch's window."""
        self._plan(TRAIN, lambda: self._train.plan(steps_to_come(trainer, 0)))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Open the window, or begin a step in it."""
        if batch_idx >= self._train.wake_at:
            self._begin_step(self._train, pl_module, batch, batch_idx)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Note, in the window, where autograd will add up gradients."""
        if self._train.is_open:
            self._spend(self._train, lambda: self._train.before_backward(loss))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """End a step of the window, and report once it was the last."""
        if self._train.is_open:
            self._end_step(TRAIN, trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report a window that the epoch's end has cut short."""
        if self._train.is_open:
            self._finish_window(TRAIN, trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report before a validation inside of the epoch, rather than record all of it."""
        if self._train.is_open:
            self._finish_window(TRAIN, trainer, pl_module)
        if VALIDATE in self._stages and trainer.state.fn == VALIDATE:  # without a training
            self.on_fit_start(trainer, pl_module)
        if not trainer.sanity_checking:
            self._plan(VALIDATE, lambda: self._validate.plan(sum(trainer.num_val_batches[:1])))

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """As in training, in the first of the validation's loaders."""
        if batch_idx >= self._validate.wake_at and dataloader_idx == 0:
            self._begin_step(self._validate, pl_module, batch, batch_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """As in training."""
        if self._validate.is_open:
            self._end_step(VALIDATE, trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report a window that the validation's end has cut short."""
        if self._validate.is_open:
            self._finish_window(VALIDATE, trainer, pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing behind; what finished windows wrote is on disk already."""
        self._guard(self._close_windows)
        if isinstance(exception, KeyboardInterrupt):
            self._guard(self._print_summary)
        self._end_run()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave nothing behind, and print the table of the last window."""
        self._guard(self._close_windows)
        if self._run is not None:
            self._run.warn_of_missed(self._stages, self.schedule, after_training=stage == "fit")
        self._guard(self._print_summary)
        self._end_run()

    def _begin_stages(self, trainer: Trainer, pl_module: LightningModule) -> None:
        max_share = self.schedule.max_share
        # Each process would keep to its own clock, and the first wait for windows of the others.
        if max_share is not None:
            max_share = max_share / len(self._stages) if trainer.world_size == 1 else None
        for recorder in self._stages.values():
            recorder.begin_training(pl_module.device, max_share)

    def _prepare_counters(self, trainer: Trainer) -> None:
        if not self._has_counters or not trainer.is_global_zero:
            return
        from lightning_profile.step_capture import StepCapture  # noqa: PLC0415  (as above)

        self._train.capture = StepCapture()

    def _plan(self, stage: str, plan: Callable[[], None]) -> None:
        if self._run is not None and stage in self._stages:
            self._guard(plan)

    def _begin_step(
        self, recorder: StageRecorder, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (run := self._run) is not None:
            layers = run.layers
            self._spend(recorder, lambda: recorder.begin_step(layers, pl_module, batch, batch_idx))

    def _end_step(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> None:
        def end() -> None:
            if self._stages[stage].end_step():
                self._analyse(stage, trainer, pl_module)

        self._spend(self._stages[stage], end)

    def _finish_window(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> None:
        self._spend(self._stages[stage], lambda: self._analyse(stage, trainer, pl_module))

    def _spend(self, recorder: StageRecorder, action: Callable[[], None]) -> None:
        """Do what a window costs the training."""
        with recorder.budget.spending():
            self._guard(action)

    def _analyse(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._run is not None:
            recorder = self._stages[stage]
            self._run.read(stage, recorder, trainer, pl_module, lambda: self._count(stage))

    def _count(self, stage: str) -> Mapping[LayerPhase, HardwareCount | Unavailable]:
        """What the hardware's counters say; nothing if they were not asked for."""
        counted: dict[LayerPhase, HardwareCount | Unavailable] = {}
        if (capture := self._stages[stage].capture) is not None:
            with self._stages[stage].budget.waiting():
                self._guard(lambda: counted.update(capture.count()))
        return counted

    def _print_summary(self) -> None:
        if self._run is not None:
            self._run.print_summary()

    def _end_run(self) -> None:
        if self._run is not None:
            self._guard(self._run.close)
        capture, self._train.capture = self._train.capture, None
        if capture is not None:
            self._guard(capture.close)
        self._run = None  # last: an interrupt comes here again. The model is not kept alive

    def _close_windows(self) -> None:
        for recorder in self._stages.values():
            recorder.close()
