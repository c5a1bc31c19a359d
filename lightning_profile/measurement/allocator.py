"""How CUDA's allocator is set, as far as it changes the sizes of its blocks."""

from __future__ import annotations

import os

import torch

_VARIABLES = (
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
)


def allocator_settings() -> str:
    """The environment's settings and the allocator's name, one after the other."""
    settings = [f"{name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name)]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        settings.append(f"allocator={torch.cuda.get_allocator_backend()}")
    return ";".join(settings)
