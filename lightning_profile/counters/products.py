"""Which of a kernel's operations belong to matrix products and convolutions.

Theory counts the products of a layer, and its element-wise operations apart; so is it here:

- A kernel that uses tensor cores does a product: its tensor operations are the product's, its
  scalar ones are scaling, bias or conversion around it.
- Without tensor cores, a kernel with the name of a product does it in fused multiply-adds; its
  single additions and multiplications are element-wise.
- In a Fourier or Winograd transform additions and multiplications are a part of the convolution.
- All else is element-wise: conversion of layouts, bias, sums over the parts of a split product.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lightning_profile.records import ExecutedFlop

TRANSFORM = re.compile(r"fft|winograd", re.IGNORECASE)
# What sums the parts of a product that was split along its reduction.
SPLIT_SUM = re.compile(r"split_?k_?(?:reduce|reduction|kernel)|reduce_?wgrad", re.IGNORECASE)
_PRODUCT = re.compile(
    r"gemm|gemv|gemk|dot_kernel|conv(?!ert)|fprop|dgrad|wgrad|cutlass|xmma|matmul|triton_\w*mm"
    r"|fmha|flash_|attention|RNN_block|grouped_direct|depthwise",
    re.IGNORECASE,
)
_NO_PRODUCT = re.compile(r"elementwise_kernel|::reduce_kernel|multi_tensor|im2col|col2im")


def product_flop(name: str, executed: Sequence[ExecutedFlop]) -> int:
    """FLOPs of products among those that the kernel ``name`` executed; the rest is element-wise."""
    tensor_flop = sum(part.flop for part in executed if part.unit == "tensor")
    if tensor_flop:
        return tensor_flop
    if _NO_PRODUCT.search(name) or SPLIT_SUM.search(name):
        return 0
    if TRANSFORM.search(name):
        return sum(part.flop for part in executed)
    if _PRODUCT.search(name):
        return sum(part.flop for part in executed if part.unit == "fma")
    return 0
