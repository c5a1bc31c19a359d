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

_SETTING = "TEARDOWN_CUPTI"  # read by kineto when a recording ends
_OLDEST_CUDA = "12.6"  # older ones crash where there are CUDA graphs, says torch.profiler
_MONITOR = "torch.profiler._cupti.monitor"  # torch 2.14's; CUPTI does not come back for it
_THREADS = Path("/proc/self/task")  # Linux's list of the process's threads
_PATIENCE_S = 0.2  # it takes 2 to 4 ms


@contextlib.contextmanager
def let_go_of_cupti(device: torch.device) -> Iterator[None]:
    """Around the end of a recording: CUPTI is detached when the block is left.

    Not off Linux, nor with an older CUDA, nor where the user's ``TEARDOWN_CUPTI`` says otherwise.
    The variable is set inside of the block only: recordings of others may follow each other
    without a call into CUDA between them.

    Args:
        device: What was recorded.
    """
    if not _can_let_go():
        yield
        return
    before = _foreign_threads()
    is_users = _SETTING in os.environ
    try:
        os.environ.setdefault(_SETTING, "1")
        try:
            yield
        finally:
            if os.environ.get(_SETTING) == "1":
                _wait_for_the_end_of_threads_since(before, device)
    finally:
        if not is_users:
            os.environ.pop(_SETTING, None)


def _can_let_go() -> bool:
    if _MONITOR in sys.modules or not _THREADS.exists():
        return False
    return TorchVersion(torch.version.cuda or "0") >= _OLDEST_CUDA


def _wait_for_the_end_of_threads_since(before: set[str], device: torch.device) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while _foreign_threads() - before and time.monotonic() < deadline_s:
        # On the way out of a call into CUDA CUPTI is let go, which takes 2 ms. This call is
        # harmless while a graph is captured, and Python's other threads run meanwhile.
        with contextlib.suppress(RuntimeError):  # of a device that has failed
            torch.cuda.mem_get_info(device)


def _foreign_threads() -> set[str]:
    """Threads that are not Python's own."""
    threads = set(os.listdir(_THREADS))  # noqa: PTH208  (names, at a third of the price)
    return threads.difference(str(each.native_id) for each in threading.enumerate())
