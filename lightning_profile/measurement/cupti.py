"""CUDA's tracing library, CUPTI, let go when a recording ends.

torch.profiler attaches it to the process for its first recording, and by default leaves it there:
every later launch of a kernel then takes longer. Its library, kineto, lets go if the environment
says so, on a thread of its own, which waits for the process's next call into CUDA to do so. Until
then a further recording loses kernels, and a process that ends hangs.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import torch
from torch.torch_version import TorchVersion

# Read by kineto when a recording ends, and by its thread once CUPTI is let go: were it gone by
# then, CUPTI would be attached anew.
_SETTING = "TEARDOWN_CUPTI"
_OLDEST_CUDA = "12.6"  # older ones crash where there are CUDA graphs, says torch.profiler
_MONITOR = "torch.profiler._cupti.monitor"  # torch 2.14's; CUPTI does not come back for it
_THREADS = "/proc/self/task"  # Linux's list of the process's threads
_PATIENCE_S = 0.2  # it takes 2 to 4 ms


class CuptiRelease:
    """Detaches CUPTI after one recording, while that is read.

    Not off Linux, nor with an older CUDA, nor without its shared library under its own name, which
    torch's wheels load, nor where the user's ``TEARDOWN_CUPTI`` says otherwise.

    Args:
        device: What is recorded.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_pending = False
        self._set_by_us = False
        self._kinetos: set[str] | None = None  # threads; unknown after an interrupt
        self._runtime: ctypes.CDLL | None = None  # CUDA's
        self._helper: threading.Thread | None = None

    @contextlib.contextmanager
    def as_recording_ends(self) -> Iterator[None]:
        """Around the end of the recording; nothing may be recorded until :meth:`wait` returns.

        The variable is not set for longer than that takes: recordings of others may follow each
        other without a call into CUDA between them.
        """
        self._runtime = _runtime_to_call(self._device)
        before = None if self._runtime is None else _all_threads()
        if before is None:
            yield
            return
        self._is_pending, self._kinetos = True, None
        if _SETTING not in os.environ:
            self._set_by_us = True
            os.environ[_SETTING] = "1"
        try:
            yield
        finally:
            after = _all_threads() if os.environ.get(_SETTING) == "1" else before
            pythons = {str(each.native_id) for each in threading.enumerate()}
            self._kinetos = None if after is None else after - before - pythons
            if self._kinetos != set():
                self._start_helper()

    def wait(self) -> None:
        """Until CUPTI is detached, or patience is over; called in any case, safe more than once."""
        if self._helper is not None and self._helper.ident is not None:
            self._helper.join()
        if self._is_pending:  # an interrupt came between, or there was no thread to be had
            self._let_go()
        self._helper = None

    def _start_helper(self) -> None:
        self._helper = threading.Thread(target=self._let_go, name="CUPTI release")
        try:
            self._helper.start()
        except RuntimeError:  # there are too many, or the interpreter ends
            self._helper = None

    def _let_go(self) -> None:
        if self._kinetos != set() and self._runtime is not None:
            _call_while_alive(self._kinetos, self._runtime)
        if self._set_by_us:
            self._set_by_us = False
            os.environ.pop(_SETTING, None)
        self._is_pending = False


def detaches_cupti(device: torch.device) -> bool:
    """Whether recordings on ``device`` end with CUPTI detached, as far as it can be told now.

    CUDA's driver keeps what it has loaded for CUPTI: each time some 0.6 MiB of the GPU's memory and
    some 70 KiB of the host's (driver 580, an NVIDIA H200; ``benchmarks/memory.py``).
    """
    setting = os.environ.get(_SETTING)
    if setting is not None:  # the user's, which kineto follows wherever it can
        return device.type == "cuda" and setting == "1"
    return _runtime_to_call(device) is not None


def _runtime_to_call(device: torch.device) -> ctypes.CDLL | None:
    """CUDA's library that CUPTI can be let go with; ``None`` where it is to be kept."""
    if device.type != "cuda" or _MONITOR in sys.modules or not Path(_THREADS).exists():
        return None
    version = torch.version.cuda or "0"
    return _loaded_runtime(version) if _can_detach(version) else None


@functools.cache  # to read two versions takes a tenth of a millisecond
def _can_detach(version: str) -> bool:
    return bool(TorchVersion(version) >= _OLDEST_CUDA)


def _loaded_runtime(version: str) -> ctypes.CDLL | None:
    """CUDA's runtime of this version, if the process has loaded it as a library of that name."""
    major, _, _ = version.partition(".")
    try:
        return ctypes.CDLL(f"libcudart.so.{major}", os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None


def _call_while_alive(threads: Collection[str] | None, runtime: ctypes.CDLL) -> None:
    """Call into CUDA until the ``threads`` have ended; for all the patience if they are unknown."""
    deadline_s = time.monotonic() + _PATIENCE_S
    device = ctypes.c_int()
    while True:
        # On the way out of a call into CUDA CUPTI is let go, which takes 2 ms. This call makes no
        # context and is harmless while a graph is captured. It comes first, and by ctypes, which
        # leaves Python's lock to others from its beginning: torch's own functions hold the lock
        # in their first call, and once it is lost, a thread that reads has it for 5 ms.
        runtime.cudaGetDevice(ctypes.byref(device))
        are_over = threads is not None and not any(
            Path(_THREADS, each).exists() for each in threads
        )
        if are_over or time.monotonic() > deadline_s:
            return


def _all_threads() -> set[str] | None:
    """Those of the process; ``None`` if too many files are open to tell."""
    try:
        return set(os.listdir(_THREADS))  # noqa: PTH208  (names, at a third of the price)
    except OSError:
        return None
