"""The course of a study: the points that are missing, the trial of the limit, then the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lightning_profile.devices import Card
from lightning_profile.report.units import format_bytes, format_time
from lightning_profile.study.analysis import Analysis, analyse
from lightning_profile.study.disturbance import is_disturbed
from lightning_profile.study.findings.forecasts import why_no_limit
from lightning_profile.study.folder import StudyFolder, open_study
from lightning_profile.study.outputs import require_packages, write_outputs
from lightning_profile.study.point import Point
from lightning_profile.study.prediction import UnknownLimit, predict_limit
from lightning_profile.study.processes import Runner
from lightning_profile.study.training import Prepare


class StudyError(Exception):
    """A study that has nothing to show; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study that is written.

    Attributes:
        folder: Where its files are: ``report.html`` and ``.md``, ``study.csv`` and ``.json``,
            ``figures``.
        analysis: Its numbers.
    """

    folder: Path
    analysis: Analysis


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a study is to do.

    Attributes:
        batch_sizes: In ascending order, each once.
        settings: What all points have in common: it tells whether an earlier study is continued.
        root: Where studies lie, a ``version_N`` each.
        project_to: Cards to project the rooflines to.
        find_limit: Whether to try the largest batch that should fit.
        continue_earlier: Whether points of an earlier study with these settings will do.
        most_samples: Samples of the training data, which no batch can exceed; ``None`` if unknown.
    """

    batch_sizes: Sequence[int]
    settings: Mapping[str, Any]
    root: Path
    project_to: Sequence[Card] = ()
    find_limit: bool = False
    continue_earlier: bool = True
    most_samples: int | None = None


def conduct(prepare: Prepare, plan: Plan, run_point: Runner) -> Study:
    """Train what is missing, one batch size after another, and write the study.

    Raises:
        StudyError: If not one batch size could be trained.
        ValueError: If a package that the report needs is not installed.
        OSError: If the study's folder can't be written.
    """
    require_packages()
    with open_study(plan.root, plan.settings, continue_earlier=plan.continue_earlier) as folder:
        points = _train_missing(prepare, plan, folder, run_point)
        if not any(point.is_measured for point in points):
            raise StudyError(f"no batch size could be trained: {points[0].message}")
        points += _trials(prepare, plan, folder, run_point, points)
        analysis = analyse(points, project_to=plan.project_to, most_samples=plan.most_samples)
        write_outputs(folder.path, analysis)
    print(f"The study: {folder.path / 'report.html'}")
    return Study(folder=folder.path, analysis=analysis)


def _train_missing(
    prepare: Prepare, plan: Plan, folder: StudyFolder, run_point: Runner
) -> list[Point]:
    found = {size: folder.point(size) for size in plan.batch_sizes}
    points = {size: point for size, point in found.items() if point is not None}
    missing = [size for size in plan.batch_sizes if size not in points]
    print(_announcement(folder, list(points), missing), flush=True)
    try:
        with tqdm(
            total=len(plan.batch_sizes),
            initial=len(points),
            desc="Batch sizes",
            unit="point",
            disable=None,  # where stderr is no terminal
        ) as progress:
            for size in missing:
                progress.set_postfix_str(f"training with {size}")
                points[size] = run_point(prepare, size, folder.point_path(size), False)
                progress.write(_line(points[size]))
                progress.update()
    except KeyboardInterrupt:
        done = [size for size in plan.batch_sizes if size in points]
        print(
            f"Stopped with {len(done)} of {len(plan.batch_sizes)} batch sizes done: "
            "the same command goes on with the others",
            flush=True,
        )
        raise
    return [points[size] for size in plan.batch_sizes]


def _trials(
    prepare: Prepare,
    plan: Plan,
    folder: StudyFolder,
    run_point: Runner,
    points: Sequence[Point],
) -> list[Point]:
    """The largest batch that should fit, if it is to be tried, found or run."""
    limit = predict_limit(points, plan.most_samples) if plan.find_limit else None
    if isinstance(limit, UnknownLimit):
        print(f"No larger batch is tried. {why_no_limit(limit)}", flush=True)
        return []
    if limit is None or limit.batch_size < 1:
        return []
    size = limit.batch_size
    point = folder.point(size, is_trial=True)
    if point is None:
        print(f"Trying batch size {size}, the largest that should fit", flush=True)
        point = run_point(prepare, size, folder.point_path(size, is_trial=True), True)
        print(_line(point), flush=True)
    return [point]


def _announcement(folder: StudyFolder, done: Sequence[int], missing: Sequence[int]) -> str:
    sizes = len(done) + len(missing)
    if not done:
        return f"Study of {sizes} batch sizes in {folder.path}"
    found = f"{len(done)} of {sizes} batch sizes are there ({_list(done)})"
    if missing:
        return f"Continuing the study in {folder.path}: {found}, missing are {_list(missing)}"
    return (
        f"The study in {folder.path} has all {sizes} batch sizes with these settings: nothing is "
        "trained, its report is written anew"
    )


def _list(sizes: Sequence[int]) -> str:
    return ", ".join(str(size) for size in sizes)


def _line(point: Point) -> str:
    name = f"  batch size {point.batch_size}: "
    if point.status == "out of memory":
        asked = point.requested_bytes
        return f"{name}out of memory" + (f", asked for {format_bytes(asked)}" if asked else "")
    if point.status == "failed":
        return f"{name}failed, {point.message}"
    if point.is_trial:
        return f"{name}fits"
    values = point.rows[0].values
    peaks = [value for column, value in values.items() if column.startswith("peak_")]
    parts = [f"{format_time(values.get('wall_time_ns'))} per step"]
    parts += [f"peak {format_bytes(max(peaks))}"] if peaks else []
    parts += ["disturbed by other programs or threads"] if is_disturbed(point) else []
    return name + ", ".join(parts)
