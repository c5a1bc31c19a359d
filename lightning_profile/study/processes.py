"""Where a point is trained: in a process of its own, or in this one.

A process of its own starts with nothing held by earlier points: no cached blocks of the device, no
heap whose thresholds earlier frees have moved, no peaks. What ends it, even Linux's out-of-memory
killer or a fault of a driver, ends this point only. It costs the time to import torch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from lightning_profile.study.memory import limit_to_capacity
from lightning_profile.study.point import Point, read_point, write_point
from lightning_profile.study.training import Prepare, train_point

_GRACE_S = 5.0
_LAST_LINE = 300  # characters
Runner = Callable[[Prepare, int, Path, bool], Point]


def in_own_process(prepare: Prepare, batch_size: int, path: Path, is_trial: bool) -> Point:
    """Train one point in a process of its own, its console in ``path`` with ``.log``.

    Args:
        prepare: Makes the training; something that can be pickled, such as a function of a module.
        batch_size: Samples per step.
        path: Where the point is kept.
        is_trial: Whether to see only if it fits.

    Returns:
        The point, or with why it could not be measured.

    Raises:
        ValueError: If ``prepare`` can't be sent to a process.
    """
    require_sendable(prepare)
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.with_suffix(".log")
    process = multiprocessing.get_context("spawn").Process(
        target=_train_here, args=(prepare, batch_size, path, log, is_trial)
    )
    process.start()
    try:
        process.join()
    except BaseException:
        _end(process)
        raise
    point = read_point(path)
    if point is not None:
        return point
    return Point(
        batch_size=batch_size,
        status="failed",
        message=_how_it_ended(process.exitcode or 0, log),
        is_trial=is_trial,
    )


def in_this_process(prepare: Prepare, batch_size: int, path: Path, is_trial: bool) -> Point:
    """Train one point here: any ``prepare`` will do, but memory is not fresh.

    Args:
        prepare: Makes the training.
        batch_size: Samples per step.
        path: Where the point is kept.
        is_trial: Whether to see only if it fits.

    Returns:
        As :func:`in_own_process`.
    """
    point = train_point(prepare, batch_size, is_trial=is_trial)
    write_point(path, point)
    return point


def require_sendable(prepare: Prepare) -> None:
    """Raise ValueError unless ``prepare`` can be sent to a process of its own."""
    try:
        pickle.dumps(prepare)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"each batch size is trained in a process of its own, and this can't be sent to one: "
            f"{error}; give functions or classes of a module (functools.partial for arguments), "
            "or run_point=in_this_process"
        ) from error


def _train_here(prepare: Prepare, batch_size: int, path: Path, log: Path, is_trial: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the study acts
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    limit_to_capacity()
    write_point(path, train_point(prepare, batch_size, is_trial=is_trial))


def _end_with_the_study() -> None:
    """A study that is killed can't end its process, so the process watches it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _end(process: SpawnProcess) -> None:
    process.terminate()
    process.join(_GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()


def _how_it_ended(exit_code: int, log: Path) -> str:
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    last = f": {lines[-1][:_LAST_LINE]}" if lines else ""
    if exit_code == -signal.SIGKILL:
        return "its process was killed (SIGKILL), as Linux does when memory runs out"
    if exit_code < 0:
        return f"its process was ended by {signal.Signals(-exit_code).name}{last}"
    return f"its process ended with status {exit_code}{last}"
