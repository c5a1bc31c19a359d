"""``python -m lightning_profile.counters.replay FOLDER TIME``: captured calls run under ``ncu``.

Every package in FOLDER is loaded and warmed up, so that cuDNN has chosen its algorithms. Then its
forward runs once with the profiler on, and then its backward. Before each of these parts a marker
is launched, a kernel that no layer uses, and that tells the parts apart in the tool's table: it
works whichever thread launches what follows, while NVTX's push and pop ranges don't reach the
threads of autograd. What became of each part goes to a file in FOLDER. No part begins after TIME,
in seconds since 1970.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import torch

from lightning_profile.counters.outcomes import FILE_NAME, PHASES, Outcome, write_outcome
from lightning_profile.counters.package import load_package
from lightning_profile.counters.repetition import Repetition
from lightning_profile.records import Phase, UnavailableCause

_GRACE_S = 60.0  # a part that began in time may take so long

Result = TypeVar("Result")


@contextlib.contextmanager
def measured(device: torch.device) -> Iterator[bool]:
    """Switch the tool on and launch a marker, and switch it off after the block.

    Yields whether there is a marker, which there is on a GPU only.
    """
    if device.type != "cuda":
        yield False
        return
    cuda: Any = torch.cuda
    cuda.synchronize(device)
    cuda.cudart().cudaProfilerStart()
    try:
        cuda._sleep(1)  # launches the marker
        yield True
        cuda.synchronize(device)
    finally:
        cuda.cudart().cudaProfilerStop()


def replay_package(path: Path, deadline: float) -> Iterator[Outcome]:
    """Repeat one package; what became of its forward, and then of its backward."""
    unmeasured = partial(Outcome, package=path.name, is_marked=False)
    if time.time() > deadline:
        for phase in PHASES:
            yield unmeasured(phase=phase, cause=UnavailableCause.TIME_LIMIT)
        return
    try:
        package = load_package(path)
        if package.device.type == "cuda":
            torch.cuda.set_device(package.device)
        repetition = Repetition(package)
        repetition.warm_up()
        arguments = repetition.fresh_arguments()
    except Exception as fault:
        for phase in PHASES:
            yield unmeasured(phase=phase, **_failure(fault))
        return
    forward, output = _measure(
        partial(Outcome, package=path.name, phase=Phase.FORWARD),
        package.device,
        partial(repetition.forward, arguments),
    )
    yield forward
    if forward.cause is not None:
        yield replace(forward, phase=Phase.BACKWARD, is_marked=False)
    elif not repetition.has_backward:
        yield unmeasured(phase=Phase.BACKWARD, cause=UnavailableCause.NO_BACKWARD)
    else:
        backward, _ = _measure(
            partial(Outcome, package=path.name, phase=Phase.BACKWARD),
            package.device,
            partial(repetition.backward, output),
        )
        yield backward


def _measure(
    outcome: Callable[..., Outcome], device: torch.device, part: Callable[[], Result]
) -> tuple[Outcome, Result | None]:
    is_marked = False
    try:
        with measured(device) as is_marked:
            result = part()
    except Exception as fault:
        return outcome(is_marked=is_marked, **_failure(fault)), None
    return outcome(is_marked=is_marked), result


class _Failure(TypedDict):
    cause: UnavailableCause
    error: str


def _failure(fault: Exception) -> _Failure:
    is_memory = isinstance(fault, (torch.OutOfMemoryError, MemoryError))
    return _Failure(
        cause=UnavailableCause.OUT_OF_MEMORY if is_memory else UnavailableCause.NOT_REPLAYED,
        error=f"{type(fault).__name__}: {fault}",
    )


def main(folder: Path, deadline: float) -> None:
    """Repeat every package in ``folder``."""
    # Ends the process from a thread of its own, also if the tool that started it is gone.
    faulthandler.dump_traceback_later(max(1.0, deadline - time.time()) + _GRACE_S, exit=True)
    with (folder / FILE_NAME).open("a", encoding="utf-8") as file:
        for path in sorted(folder.glob("*.pt")):
            for outcome in replay_package(path, deadline):
                write_outcome(file, outcome)
            gc.collect()  # the tool saves and restores all memory for each kernel: keep it small
            torch.cuda.empty_cache()


if __name__ == "__main__":
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout is for the tool's table
    main(Path(sys.argv[1]), float(sys.argv[2]))
