"""CUDA's tracing library, CUPTI, let go when a recording ends.

torch.profiler attaches it to the process for its first recording, and by default leaves it there:
every later launch of a kernel then takes longer. Its library, kineto, lets go if the environment
says so, on a thread of its own, which waits for the process's next call into CUDA to do so. Until
then a further recording loses kernels, and a process that ends hangs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.torch_version import TorchVersion

_SETTING = "TEARDOWN_CUPTI"  # read by kineto when a recording ends, and until it has let go
_OLDEST_CUDA = "12.6"  # older ones crash where there are CUDA graphs, says torch.profiler
_MONITOR = "torch.profiler._cupti.monitor"  # torch 2.14's; CUPTI does not come back for it
_THREADS = Path("/proc/self/task")  # Linux's list of the process's threads
_PATIENCE_S = 0.2  # it takes 2 to 4 ms


class CuptiRelease:
    """Detaches CUPTI after one recording, while that is read.

    Not off Linux, nor with an older CUDA, nor where the user's ``TEARDOWN_CUPTI`` says otherwise.

    Args:
        device: What is recorded.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waiting: threading.Thread | None = None
        self._is_set = False

    @contextlib.contextmanager
    def as_recording_ends(self) -> Iterator[None]:
        """Around the end of the recording; nothing may be recorded until :meth:`wait` returns.

        The variable is set until then only: recordings of others may follow each other without a
        call into CUDA between them.
        """
        if self._device.type != "cuda" or not _can_let_go():
            yield
            return
        before = _foreign_threads()
        if _SETTING not in os.environ:
            self._is_set = True
            os.environ[_SETTING] = "1"
        try:
            yield
        finally:
            if os.environ.get(_SETTING) == "1" and _foreign_threads() - before:
                self._begin_to_wait(before)

    def _begin_to_wait(self, before: set[str]) -> None:
        waiting = threading.Thread(
            target=_call_until_threads_end, args=(before, self._device), name="release of CUPTI"
        )
        try:
            waiting.start()
        except RuntimeError:  # there are too many, or the interpreter ends
            _call_until_threads_end(before, self._device)
        else:
            self._waiting = waiting

    def wait(self) -> None:
        """Until CUPTI is detached; to be called in any case, safe more than once."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.join()
        if self._is_set:  # until now: kineto's thread asks for it again
            self._is_set = False
            os.environ.pop(_SETTING, None)


def _can_let_go() -> bool:
    if _MONITOR in sys.modules or not _THREADS.exists():
        return False
    return TorchVersion(torch.version.cuda or "0") >= _OLDEST_CUDA


def _call_until_threads_end(before: set[str], device: torch.device) -> None:
    """Call into CUDA until no thread is left but those of ``before``."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        # On the way out of a call into CUDA CUPTI is let go, which takes 2 ms. This call is
        # harmless while a graph is captured, and leaves Python's lock to others meanwhile. It
        # comes first: once the lock is lost, a thread that reads has it for 5 ms.
        with contextlib.suppress(RuntimeError):  # of a device that has failed
            torch.cuda.mem_get_info(device)
        if not _foreign_threads() - before or time.monotonic() > deadline_s:
            return


def _foreign_threads() -> set[str]:
    """Threads that are not Python's own."""
    threads = set(os.listdir(_THREADS))  # noqa: PTH208  (names, at a third of the price)
    return threads.difference(str(each.native_id) for each in threading.enumerate())
