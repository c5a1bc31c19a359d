"""Errors that say that memory has run out, and how much was asked for."""

from __future__ import annotations

import re

import torch

# As torch writes them: c10/cuda/CUDACachingAllocator.cpp, c10/core/impl/alloc_cpu.cpp, and the
# status names of cuDNN and cuBLAS.
_CUDA = re.compile(r"Tried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)")
_CPU = re.compile(r"DefaultCPUAllocator: (?:can't allocate|not enough) memory")
_CPU_BYTES = re.compile(r"you tried to allocate (\d+) bytes")
_LIBRARIES = re.compile(r"CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED|std::bad_alloc")
_UNIT_BYTES = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory has run out, on a device or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and bool(_CPU.search(text) or _LIBRARIES.search(text))


def requested_bytes(error: BaseException) -> int | None:
    """Bytes that could not be had; ``None`` if the message has no number.

    CUDA's message gives them to a hundredth of a KiB, MiB or GiB, the CPU's exactly.
    """
    text = str(error)
    if found := _CPU_BYTES.search(text):
        return int(found[1])
    if found := _CUDA.search(text):
        return round(float(found[1]) * _UNIT_BYTES[found[2]])
    return None
