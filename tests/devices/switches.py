"""torch's switches of float32 arithmetic, for tests that turn them."""

from __future__ import annotations

import torch

from lightning_profile.devices.precision import (
    CPU_MATMUL,
    CUDA_CONVOLUTION,
    CUDA_MATMUL,
    CUDA_RECURRENT,
    Setting,
    read_precision,
)

GENERIC: Setting = ("generic", "all")
SETTINGS: list[Setting] = [
    GENERIC,
    ("cuda", "all"),
    CUDA_MATMUL,
    CUDA_CONVOLUTION,
    CUDA_RECURRENT,
    ("mkldnn", "all"),
    CPU_MATMUL,
]


def write_precision(setting: Setting, value: str) -> None:
    torch._C._set_fp32_precision_setter(*setting, value)


def readings() -> list[str]:
    return [read_precision(setting) for setting in SETTINGS]


def as_at_start() -> None:
    """As torch sets them when it is imported."""
    torch.set_float32_matmul_precision("highest")  # the old switch; it sets some of the new ones
    for setting in SETTINGS:
        write_precision(setting, "none")
    torch.backends.cudnn.allow_tf32 = True
