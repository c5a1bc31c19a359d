"""The study's part of a command line: several batch sizes in place of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lightning_profile.study.batch_sizes import check_batch_sizes
from lightning_profile.study.conduct import Plan, conduct
from lightning_profile.study.processes import in_own_process
from lightning_profile.study.projection import find_cards
from lightning_profile.study.settings import describe_training
from lightning_profile.study.training import Prepare, Training

_BATCH_SIZE = "--batch_size"
NAME = "batch_size_study"
# Where things are, and what is asked of a study beside its points: no settings of a training.
_NO_SETTINGS = ("batch_size", "config", "data_dir", "find_limit", "log_dir", "project", "study")


def add_study_arguments(parser: Any) -> None:
    """Add the options of a study to a parser of jsonargparse."""
    parser.add_argument(
        "--find_limit",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="Study: try the largest batch that should fit in memory.",
    )
    parser.add_argument(
        "--project",
        type=str,
        nargs="+",
        default=[],
        help="Study: devices, such as V100, to show the least time that they would allow.",
    )
    parser.add_argument(
        "--study",
        type=Literal["continue", "new"],
        default="continue",
        help="Study: new measures again what an earlier study with the same settings has.",
    )


def split_batch_sizes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands behind the last ``--batch_size``, and the arguments without any of them."""
    sizes: list[str] = []
    others: list[str] = []
    taken: list[str] | None = None
    for argument in arguments:
        if argument == _BATCH_SIZE:
            sizes = taken = []
        elif argument.startswith(f"{_BATCH_SIZE}="):
            sizes = taken = [argument.partition("=")[2]]
        elif argument.startswith("--"):
            taken = None
            others.append(argument)
        elif taken is not None:
            taken.append(argument)
        else:
            others.append(argument)
    return sizes, others


def require_study(config: Any) -> None:
    """Raise ValueError if options of a study were given to a single training."""
    named = [name for name in ("find_limit", "project") if config[name]]
    if named:
        raise ValueError(
            f"{named[0]} is for a study of several batch sizes, such as --batch_size 16 32 64 128"
        )


def plan_study(
    sizes: Sequence[str], config: Any, training: Training, most_samples: int | None
) -> Plan:
    """The study that was asked for.

    Args:
        sizes: From :func:`split_batch_sizes`.
        config: The resolved configuration of one of its trainings.
        training: That training.
        most_samples: Samples of the training data.

    Raises:
        ValueError: If something makes no sense.
    """
    if not config.profile:
        raise ValueError("a study measures layers, so it needs --profile true")
    settings = config.as_dict()
    for name in _NO_SETTINGS:
        settings.pop(name, None)
    for name in ("batch_size", "data_dir"):
        settings["data"].pop(name, None)
    for name in ("logger", "default_root_dir"):
        settings["trainer"].pop(name, None)
    return Plan(
        batch_sizes=check_batch_sizes(sizes),
        settings={"options": settings, **describe_training(training)},
        root=Path(config.log_dir) / NAME,
        project_to=find_cards(config.project),
        find_limit=config.find_limit,
        continue_earlier=config.study == "continue",
        most_samples=most_samples,
    )


def run(prepare: Prepare, plan: Plan) -> None:
    """Carry out ``plan``, each point in a process of its own."""
    conduct(prepare, plan, in_own_process)
