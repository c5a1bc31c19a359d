"""The arithmetic that torch computes float32 products in, read and switched exactly.

torch has an old switch (``allow_tf32``, ``set_float32_matmul_precision``) and a new one
(``fp32_precision``). Reading the old one raises once the new one was used, but the old one sets the
new one too: so the new one says what the kernels do. A setting is inherited, from an operation to
its backend to ``generic``, and reads as what it inherits.

torch's Python properties over these functions are bypassed because the one of
``torch.backends.mkldnn.fp32_precision`` sets ``generic`` (torch 2.11 to 2.14).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

Setting = tuple[str, str]  # backend and operation

CUDA_MATMUL: Setting = ("cuda", "matmul")
CUDA_CONVOLUTION: Setting = ("cuda", "conv")
CUDA_RECURRENT: Setting = ("cuda", "rnn")
CPU_MATMUL: Setting = ("mkldnn", "matmul")
CPU_CONVOLUTION: Setting = ("mkldnn", "conv")
CPU_RECURRENT: Setting = ("mkldnn", "rnn")

_GENERIC: Setting = ("generic", "all")
_INHERITED = "none"


def read_precision(setting: Setting) -> str:
    """What float32 products are computed in: ``ieee``, ``tf32``, ``bf16``, or ``none`` as ieee."""
    return torch._C._get_fp32_precision_getter(*setting)


@contextmanager
def precision(setting: Setting, value: str) -> Iterator[None]:
    """Compute float32 products in ``value`` inside of the block; then everything is as before.

    The switch is the process's, not the thread's.
    """
    own = _own_value(setting)
    _write(setting, value)
    try:
        yield
    finally:
        _write(setting, own)


@contextmanager
def fp32_accumulation() -> Iterator[None]:
    """Sum float16 matrix products in fp32 inside of the block; then it is as before."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_fp16_accumulation
    matmul.allow_fp16_accumulation = False
    try:
        yield
    finally:
        matmul.allow_fp16_accumulation = before


def _own_value(setting: Setting) -> str:
    """What is set there itself: ``none`` if the value that is read is inherited."""
    value = read_precision(setting)
    if setting == _GENERIC or value == _INHERITED:
        return value
    backend, operation = setting
    parent = (backend, "all") if operation != "all" else _GENERIC
    if read_precision(parent) != value:
        return value
    with precision(parent, "ieee" if value != "ieee" else "tf32"):
        follows = read_precision(setting) != value
    return _INHERITED if follows else value


def _write(setting: Setting, value: str) -> None:
    torch._C._set_fp32_precision_setter(*setting, value)
