"""A study of any model from Python."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import CSVLogger

from lightning_profile.callback import LayerProfiler
from lightning_profile.schedule import Schedule
from lightning_profile.study.batch_sizes import check_batch_sizes
from lightning_profile.study.conduct import Plan, Study, conduct
from lightning_profile.study.processes import Runner, in_own_process, require_sendable
from lightning_profile.study.projection import find_cards
from lightning_profile.study.settings import describe_callable, describe_training, describe_value
from lightning_profile.study.training import Training

#: Several recorded steps, for the median of their times.
STUDY_SCHEDULE = Schedule(wait=10, warmup=1, active=9)
#: Enough steps for the window, and as many beside it; nothing but the training.
SHORT_TRAINING: Mapping[str, Any] = {
    "max_epochs": 1,
    "limit_train_batches": 40,
    "limit_val_batches": 0,
    "num_sanity_val_steps": 0,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "devices": 1,
}


def run_study(
    make_model: Callable[[], LightningModule],
    make_data: Callable[[int], Any],
    batch_sizes: Sequence[int],
    *,
    layers: str | Sequence[str] | None = None,
    schedule: Schedule = STUDY_SCHEDULE,
    counters: str | None = None,
    empirical_roofline: bool = False,
    trace: bool = False,
    seed: int = 42,
    trainer_options: Mapping[str, Any] | None = None,
    folder: str | Path = "logs/batch_size_study",
    project_to: Sequence[str] = (),
    find_limit: bool = False,
    continue_earlier: bool = True,
    run_point: Runner = in_own_process,
) -> Study:
    """Train a model with several batch sizes and write how its layers' costs grow.

    Each batch size is a short training of a fresh model, in a process of its own. The results go to
    a new ``version_N`` in ``folder``; if there is a study with the same settings that was stopped,
    it is continued. A batch size that runs out of memory is recorded as that.

    As each process imports the program that calls this, the call must stand below
    ``if __name__ == "__main__":``. See ``examples/batch_size_study.py``.

    Args:
        make_model: Makes the model: a class or a function of a module, or a ``functools.partial``.
        make_data: Likewise; makes, from a batch size, a data module or a loader.
        batch_sizes: At least two, in samples per step, each once.
        layers: As in :class:`~lightning_profile.LayerProfiler`.
        schedule: When the steps are recorded; times are their median.
        counters: As in :class:`~lightning_profile.LayerProfiler`: ``"ncu"`` for the FLOPs and the
            DRAM traffic that an NVIDIA GPU executes.
        empirical_roofline: Likewise; whether to measure what the device reaches beside the
            vendor's peaks.
        trace: Likewise; whether each run's folder gets the trace of its window.
        seed: That every training starts from.
        trainer_options: Of Lightning's ``Trainer``, over
            :data:`~lightning_profile.study.run.SHORT_TRAINING`.
        folder: Where studies lie, a ``version_N`` each.
        project_to: Names of cards (``"V100"``), to show the least time that each would allow.
        find_limit: Whether to try the largest batch that should fit in the device's memory.
        continue_earlier: Whether to use points of an earlier study with the same settings.
        run_point: :func:`in_own_process`, or :func:`in_this_process` for what can't be sent to a
            process, where memory is not fresh.

    Returns:
        The study, with its folder and its numbers.

    Raises:
        LayerSelectionError: If a layer does not exist.
        RuntimeError: If it is called while a process of a study imports the program.
        StudyError: If no batch size could be trained.
        ValueError: If an argument makes no sense; before anything is trained.
    """
    if run_point is in_own_process and multiprocessing.parent_process() is not None:
        raise RuntimeError('call run_study below `if __name__ == "__main__":`')
    sizes = check_batch_sizes(batch_sizes)
    cards = find_cards(project_to)
    options = {**SHORT_TRAINING, **(trainer_options or {})}
    profiler = {
        "layers": layers,
        "schedule": schedule,
        "counters": counters,
        "empirical_roofline": empirical_roofline,
        "trace": trace,
    }
    prepare = partial(_prepare, make_model, make_data, profiler, seed, options, str(folder))
    if run_point is in_own_process:
        require_sendable(prepare)
    settings = describe_training(prepare(sizes[0])) | {
        "profiler": {name: describe_value(value) for name, value in profiler.items()},
        "seed": seed,
        "trainer": {name: describe_value(value) for name, value in sorted(options.items())},
        "data": describe_callable(make_data),
    }
    plan = Plan(
        batch_sizes=sizes,
        settings=settings,
        root=Path(folder),
        project_to=cards,
        find_limit=find_limit,
        continue_earlier=continue_earlier,
    )
    return conduct(prepare, plan, run_point)


def _prepare(
    make_model: Callable[[], LightningModule],
    make_data: Callable[[int], Any],
    profiler: Mapping[str, Any],
    seed: int,
    options: Mapping[str, Any],
    folder: str,
    batch_size: int,
) -> Training:
    seed_everything(seed, verbose=False)
    model = make_model()
    defaults = {
        "logger": CSVLogger(folder, name="runs"),
        "default_root_dir": folder,
        "callbacks": [],
    }
    settings = {**defaults, **options}
    settings["callbacks"] = [*settings["callbacks"], LayerProfiler(**profiler)]
    return Training(trainer=Trainer(**settings), model=model, data=make_data(batch_size))
