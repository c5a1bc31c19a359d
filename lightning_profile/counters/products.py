"""Which of a kernel's operations belong to matrix products and convolutions.

Theory counts the products of a layer, and its element-wise operations apart; so is it here:

- A kernel that uses tensor cores does a product: its tensor operations are the product's, its
  scalar ones are scaling, bias or conversion around it.
- Without tensor cores, a kernel with the name of a product does it in fused multiply-adds; its
  single additions and multiplications are element-wise.
- In a Fourier or Winograd transform additions and multiplications are a part of the convolution.
- All else is element-wise: conversion of layouts, bias, sums over the parts of a split product.
- Half-precision fused multiply-adds of a kernel that computes in fp32 or fp64 too are neither: the
  compiler loads constants with them (HFMA2 with a zero factor: seen on an H100 in every kernel of
  an fp32 training).
"""

from __future__ import annotations

from collections.abc import Sequence

from lightning_profile.kernel_names import kernel_kind
from lightning_profile.records import ExecutedFlop


def arithmetic_of(executed: Sequence[ExecutedFlop]) -> tuple[ExecutedFlop, ...]:
    """``executed`` without the instructions that load constants."""
    is_wide = any(part.unit != "tensor" and part.arithmetic != "fp16" for part in executed)
    return tuple(
        part
        for part in executed
        if not (is_wide and part.unit == "fma" and part.arithmetic == "fp16")
    )


def product_flop(name: str, executed: Sequence[ExecutedFlop]) -> int:
    """FLOPs of products among those that the kernel ``name`` executed; the rest is element-wise.

    Args:
        name: The kernel's.
        executed: From :func:`arithmetic_of`.
    """
    tensor_flop = sum(part.flop for part in executed if part.unit == "tensor")
    if tensor_flop:
        return tensor_flop
    kind = kernel_kind(name)
    if kind == "transform":
        return sum(part.flop for part in executed)
    if kind == "matrix product":
        return sum(part.flop for part in executed if part.unit == "fma")
    return 0
