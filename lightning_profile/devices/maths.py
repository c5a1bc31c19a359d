"""Which arithmetic a layer's products run in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from lightning_profile.devices.precision import (
    CPU_CONVOLUTION,
    CPU_MATMUL,
    CPU_RECURRENT,
    CUDA_CONVOLUTION,
    CUDA_MATMUL,
    CUDA_RECURRENT,
    read_precision,
)
from lightning_profile.records import ArithmeticKind, MathsMode

Product = Literal["matmul", "convolution", "recurrent"]

_KINDS: Mapping[torch.dtype, ArithmeticKind] = {
    torch.float64: "fp64",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "fp8",
    torch.float8_e5m2: "fp8",
}
_EXACT = {"ieee", "none"}
_FIRST_WITH_TF32 = (8, 0)  # compute capability of Ampere
_UNKNOWN = MathsMode(float32_matmul=None, float32_convolution=None, float32_recurrent=None)


def arithmetic_kind(dtype: torch.dtype, product: Product, mode: MathsMode) -> ArithmeticKind | None:
    """The arithmetic that products of ``dtype`` run in; ``None`` if it can't be told.

    Args:
        dtype: Element type of the operands.
        product: How the layer's products are computed.
        mode: From :func:`read_maths_mode`.
    """
    if dtype == torch.float32:
        return {
            "matmul": mode.float32_matmul,
            "convolution": mode.float32_convolution,
            "recurrent": mode.float32_recurrent,
        }[product]
    if dtype == torch.float16 and mode.fp16_accumulation and product == "matmul":
        return None  # the ceilings are those of sums in fp32
    return _KINDS.get(dtype)


def read_maths_mode(device: torch.device) -> MathsMode:
    """What torch's switches say about ``device`` now; nothing is changed."""
    if device.type == "cpu":
        return cpu_maths_mode(
            matmul=read_precision(CPU_MATMUL),
            convolution=read_precision(CPU_CONVOLUTION),
            recurrent=read_precision(CPU_RECURRENT),
        )
    if device.type == "cuda" and torch.version.hip is None:
        return cuda_maths_mode(
            matmul=read_precision(CUDA_MATMUL),
            convolution=read_precision(CUDA_CONVOLUTION),
            recurrent=read_precision(CUDA_RECURRENT),
            compute_capability=torch.cuda.get_device_capability(device),
            has_cudnn=_has_cudnn(),
            fp16_accumulation=torch.backends.cuda.matmul.allow_fp16_accumulation,
        )
    return _UNKNOWN


def cpu_maths_mode(*, matmul: str, convolution: str, recurrent: str) -> MathsMode:
    """The mode of a CPU by its ``fp32_precision`` settings.

    Where oneDNN may use less than fp32, it depends on the processor whether it does: unknown.
    """
    return MathsMode(
        float32_matmul="fp32" if matmul in _EXACT else None,
        float32_convolution="fp32" if convolution in _EXACT else None,
        float32_recurrent="fp32" if recurrent in _EXACT else None,
    )


def cuda_maths_mode(
    *,
    matmul: str,
    convolution: str,
    recurrent: str,
    compute_capability: tuple[int, int],
    has_cudnn: bool,
    fp16_accumulation: bool,
) -> MathsMode:
    """The mode of an NVIDIA GPU by its ``fp32_precision`` settings.

    Args:
        matmul: The setting for cuBLAS.
        convolution: That for cuDNN's convolutions.
        recurrent: That for cuDNN's recurrent layers.
        compute_capability: TF32 exists from 8.0 on; older GPUs ignore the settings.
        has_cudnn: Without it, convolutions and recurrent layers are matrix products.
        fp16_accumulation: Whether cuBLAS may sum float16 products in fp16.
    """
    if not has_cudnn:
        convolution = recurrent = matmul

    def kind(setting: str) -> ArithmeticKind:
        has_tf32 = compute_capability >= _FIRST_WITH_TF32
        return "tf32" if setting == "tf32" and has_tf32 else "fp32"

    return MathsMode(
        float32_matmul=kind(matmul),
        float32_convolution=kind(convolution),
        float32_recurrent=kind(recurrent),
        fp16_accumulation=fp16_accumulation,
    )


def _has_cudnn() -> bool:
    is_available: bool = torch.backends.cudnn.is_available()  # type: ignore[no-untyped-call]
    return is_available and torch.backends.cudnn.enabled
