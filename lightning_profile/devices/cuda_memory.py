"""Memory of a GPU that PyTorch's caching allocator never sees.

The allocator's counters and its cache are the user's: a block taken from it would raise their
peaks, stay reserved, and in a tight training make it free its cache. The CUDA driver hands out
memory beside it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_SUCCESS = 0  # CUDA_SUCCESS of the CUDA driver API


@contextmanager
def memory_beside_allocator(device: torch.device, size_bytes: int) -> Iterator[Tensor | None]:
    """A tensor of ``size_bytes`` uninitialised bytes, freed at the end; ``None`` if refused.

    Neither it nor a view of it may be used after the block.
    """
    driver = _load_driver()
    address = ctypes.c_uint64()
    with torch.cuda.device(device):
        torch.cuda.mem_get_info(device)  # makes the device's context this thread's
        if (
            driver is None
            or driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size_bytes)) != _SUCCESS
        ):
            yield None
            return
        try:
            yield torch.as_tensor(_Block(address.value, size_bytes), device=device)
        finally:
            torch.cuda.current_stream(device).synchronize()
            driver.cuMemFree_v2(address)


class _Block:
    """Says where the memory is, in the form that torch reads (CUDA Array Interface 3)."""

    def __init__(self, address: int, size_bytes: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (size_bytes,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }


def _load_driver() -> ctypes.CDLL | None:
    if torch.version.hip is not None:
        return None
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
