"""CUDA's tracing library, CUPTI, let go when a recording ends.

torch.profiler attaches it to the process for its first recording, and by default leaves it there:
every later launch of a kernel then takes longer. Its library, kineto, lets go if the environment
says so, on a thread of its own, which waits for the process's next call into CUDA to do so. Until
then a further recording loses kernels, and a process that ends hangs.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.torch_version import TorchVersion

_SETTING = "TEARDOWN_CUPTI"  # read by kineto when a recording ends
_OLDEST_CUDA = "12.6"  # older ones crash where there are CUDA graphs, says torch.profiler
_THREADS = Path("/proc/self/task")  # Linux's list of the process's threads
_PATIENCE_S = 0.2  # it takes 2 to 4 ms


@contextlib.contextmanager
def let_go_of_cupti() -> Iterator[None]:
    """Around the end of a recording: when the block is left, CUPTI is detached.

    A user's own ``TEARDOWN_CUPTI`` holds, whatever it says. The variable is set inside the block
    only, as recordings of others may follow each other without a call into CUDA between them.
    """
    if not _THREADS.exists() or TorchVersion(torch.version.cuda or "0") < _OLDEST_CUDA:
        yield
        return
    before = _threads()
    is_set = _SETTING in os.environ
    os.environ.setdefault(_SETTING, "1")
    try:
        yield
    finally:
        try:
            _wait_for_the_end_of_threads_since(before)
        finally:
            if not is_set:
                os.environ.pop(_SETTING, None)


def _wait_for_the_end_of_threads_since(before: set[str]) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S  # a thread of someone else's may have come, too
    while _threads() - before and time.monotonic() < deadline_s:
        torch.cuda.current_device()  # on the way out of such a call CUPTI lets go


def _threads() -> set[str]:
    return set(os.listdir(_THREADS))  # noqa: PTH208  (names, at a third of the price)
