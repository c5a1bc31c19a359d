"""Runs a program that may get stuck, and ends it with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_POLL_S = 0.05
_GRACE_S = 5.0  # between asking a program to end and ending it


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What came of a program.

    Attributes:
        exit_code: ``None`` if it was ended because its time was up.
        output: What it printed to stdout.
        errors: What it printed to stderr.
    """

    exit_code: int | None
    output: str
    errors: str


def run(command: Sequence[str], environment: Mapping[str, str], time_limit_s: float) -> Finished:
    """Run ``command`` in a group of processes of its own, which ends with it or with its time.

    Raises:
        OSError: If it can't be started.
    """
    # Files instead of pipes: a process that outlives the program can't keep us waiting.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            has_ended = _wait(process.pid, time_limit_s)
        finally:  # also if the user interrupts the waiting
            _end_group(process.pid)
            exit_code = process.wait()
        output.seek(0)
        errors.seek(0)
        return Finished(
            exit_code=exit_code if has_ended else None,
            output=output.read().decode(errors="replace"),
            errors=errors.read().decode(errors="replace"),
        )


def _wait(pid: int, time_limit_s: float) -> bool:
    """Whether the process ended in time. It is not reaped, so its number stays its own."""
    end = time.monotonic() + time_limit_s
    while time.monotonic() < end:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(_POLL_S)
    return False


def _end_group(pid: int) -> None:
    """End the group of a process that is not reaped yet: first by asking, then for good."""
    for kind, patience_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, 0.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, kind)
        _wait(pid, patience_s)
