"""The process that draws: it is given lines, never waited for, and ended at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PROGRAM = Path(__file__).parents[1] / "drawing" / "__main__.py"
_PIPE_BYTES = 2**20  # what Linux lets a user have: several windows of a large model
_POLL_S = 0.02
_TAIL_BYTES = 2000  # of what it has said
_ENVIRONMENT = {
    "MPLBACKEND": "agg",  # a notebook's may not be there
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
}


class DrawingError(Exception):
    """Pictures are not there, and why."""


class DrawingProcess:
    """One process for all pictures of a training.

    It shares the session of the training: in one of its own, Linux would share the processor
    between the two sessions evenly, however low its priority.

    Raises:
        OSError: If it can't be started.
    """

    def __init__(self) -> None:
        self._unsent = b""
        # A pipe that nobody reads could fill up.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in finish
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the program is ours
                [sys.executable, str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                env=os.environ | _ENVIRONMENT,
            )
        except BaseException:
            self._said.close()
            raise
        assert self._process.stdin is not None
        self._input = self._process.stdin
        os.set_blocking(self._input.fileno(), False)
        _enlarge(self._input.fileno())

    def send(self, line: bytes) -> None:
        """Hand over a line, without waiting: what does not fit now goes with the next.

        Raises:
            DrawingError: If the process has ended.
        """
        self._unsent += line + b"\n"
        self._flush()

    def finish(self, patience_s: float) -> str:
        """Let it draw what it was given, then end it; it is gone in any case.

        Args:
            patience_s: Seconds to wait.

        Returns:
            What it said last; empty if it said nothing.
        """
        end = time.monotonic() + patience_s
        # A worker that was forked meanwhile holds the input open, so to close it is not enough.
        self._unsent += b"\n"
        try:
            with contextlib.suppress(DrawingError):
                while self._process.poll() is None and time.monotonic() < end:
                    self._flush()
                    time.sleep(_POLL_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._input.close()
            last = self._last_words()
            self._said.close()
        return last

    def _flush(self) -> None:
        try:
            while self._unsent:
                sent = os.write(self._input.fileno(), self._unsent)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            return
        except BrokenPipeError:
            raise DrawingError(self._last_words() or "the process that draws has ended") from None

    def _last_words(self) -> str:
        size = os.fstat(self._said.fileno()).st_size
        tail = os.pread(self._said.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        lines = tail.decode("utf-8", errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def _enlarge(pipe: int) -> None:
    """Make room for several windows, on Linux."""
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415  (only there)

        with contextlib.suppress(OSError):  # more than this user may have
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
