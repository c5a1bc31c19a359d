"""How long an action takes on a device, and where its operands may lie."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor

from lightning_profile.devices.cuda_memory import memory_beside_allocator
from lightning_profile.devices.precision import CPU_MATMUL, CUDA_MATMUL, Setting

ARENA_BYTES = 512 * 2**20  # two halves of 256 MiB: more than the last-level caches hold
_LEAST_ARENA_BYTES = 64 * 2**20  # with less, caches would be measured


class Stopwatch(Protocol):
    """A device as the measurement of ceilings sees it.

    Attributes:
        device: The device.
        matmul_setting: What decides on the arithmetic of its float32 matrix products.
        long_enough_s: A product of this length is timed well.
        patience_s: How long a product, or the copy, is repeated: other processes come between.
    """

    device: torch.device
    matmul_setting: Setting
    long_enough_s: float
    patience_s: float

    def seconds(self, action: Callable[[], object]) -> float:
        """What one run of ``action`` takes."""

    def arena(self) -> AbstractContextManager[Tensor | None]:
        """Bytes to work in, freed at the end; ``None`` where there are too few."""


class CpuStopwatch:
    """The host's clock and memory."""

    matmul_setting = CPU_MATMUL
    long_enough_s = 0.02
    patience_s = 0.06

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def seconds(self, action: Callable[[], object]) -> float:
        """What one run of ``action`` takes."""
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    @contextmanager
    def arena(self) -> Iterator[Tensor | None]:
        """At most a sixteenth of the machine's memory."""
        size_bytes = min(ARENA_BYTES, _host_memory_bytes() // 16)
        memory = None
        if size_bytes >= _LEAST_ARENA_BYTES:
            with contextlib.suppress(RuntimeError):  # refused by the system
                memory = torch.empty(size_bytes, dtype=torch.uint8, device=self.device)
        yield memory


class CudaStopwatch:
    """Events on the current stream, and memory beside the caching allocator."""

    matmul_setting = CUDA_MATMUL
    long_enough_s = 0.002
    patience_s = 0.02

    def __init__(self, device: torch.device) -> None:
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)

    def seconds(self, action: Callable[[], object]) -> float:
        """What one run of ``action`` takes on the device."""
        with torch.cuda.device(self.device):
            start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            start.record()
            action()
            end.record()
            end.synchronize()
            milliseconds: float = start.elapsed_time(end)
            return milliseconds / 1e3

    @contextmanager
    def arena(self) -> Iterator[Tensor | None]:
        """At most a quarter of the device's free memory.

        cuBLAS's workspace does come from the caching allocator, some 10 MiB: it is given back if
        there was none before.
        """
        free_bytes, _ = torch.cuda.mem_get_info(self.device)
        size_bytes = min(ARENA_BYTES, free_bytes // 4 // 2**20 * 2**20)
        if size_bytes < _LEAST_ARENA_BYTES:
            yield None
            return
        allocated_bytes = torch.cuda.memory_allocated(self.device)
        try:
            with memory_beside_allocator(self.device, size_bytes) as memory:
                yield memory
        finally:
            if torch.cuda.memory_allocated(self.device) > allocated_bytes:
                torch._C._cuda_clearCublasWorkspaces()


def _host_memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not POSIX
        return 16 * ARENA_BYTES
