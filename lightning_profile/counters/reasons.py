"""Why a layer executed more or fewer products than theory says, as far as its kernels tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lightning_profile.kernel_names import gradient_by_name, kernel_kind, sums_split_product
from lightning_profile.records import HardwareCount, HardwareKernel, Phase

_TOLERANCE = 0.01
# The edges of the tile that a block computes, as cuDNN, cuBLAS and CUTLASS write them into names:
# tilesize128x64x32, 256x64_32x4, sgemm_128x64.
_TILE = re.compile(r"(?:tilesize|_)(\d{2,3}x\d{2,3}(?:x\d{1,3})?)(?![\dx])")
_SPLIT = re.compile(r"split_?k|segment_k_on|stream_?k", re.IGNORECASE)
_ATTENTION = re.compile(r"fmha|flash_|attention", re.IGNORECASE)
_BACKWARD = re.compile(r"bwd|backward|fmha_cutlassB", re.IGNORECASE)


def deviation_reason(count: HardwareCount, theoretical_flop: int) -> str:
    """Why the executed FLOPs of products differ from theory.

    Args:
        count: What was executed.
        theoretical_flop: FLOPs of products on paper, for the same calls.

    Returns:
        A phrase; empty if they agree within 1%, or if the executed ones are unknown.
    """
    executed = count.hardware_flop
    if executed is None or abs(executed - theoretical_flop) <= _TOLERANCE * theoretical_flop:
        return ""
    products = [kernel for kernel in count.kernels if kernel.product_flop]
    if not theoretical_flop:
        return f"{executed:,} FLOPs in kernels of products where theory has none"
    if not products:
        return "no kernel was recognised as a matrix product: reason unknown"
    evidence = (
        _of_more(count.kernels, products) if executed > theoretical_flop else _of_less(products)
    )
    return f"executed {executed / theoretical_flop:.2f} × theory: " + (
        "; ".join(evidence) or "reason unknown"
    )


def other_kernels(count: HardwareCount) -> str:
    """What runs beside the products, such as ``4 layout conversions, 2 others``; or empty."""
    others = [kernel for kernel in count.kernels if not kernel.product_flop]
    layouts = sum(kernel_kind(kernel.name) == "layout conversion" for kernel in others)
    sums = sum(sums_split_product(kernel.name) for kernel in others)
    parts = (
        (layouts, "layout conversion"),
        (sums, "sum of a split product"),
        (len(others) - layouts - sums, "other kernel"),
    )
    return ", ".join(f"{number} × {name}" for number, name in parts if number)


def _of_more(kernels: Sequence[HardwareKernel], products: Sequence[HardwareKernel]) -> list[str]:
    evidence = []
    attention = _matching(_ATTENTION, products)
    if _matching(_BACKWARD, attention):
        evidence.append("the backward of attention computes its scores again")
    tiles = dict.fromkeys(tile for each in products for tile in _TILE.findall(each.name))
    if tiles:
        evidence.append(f"tiles of {', '.join(tiles)} are padded")
    if any(gradient_by_name(kernel.name) is Phase.GRAD_INPUT for kernel in products):
        evidence.append("the input's gradient is computed with zeros around it or between strides")
    if _matching(_SPLIT, kernels):
        evidence.append("the reduction is split, each part padded")
    if not evidence and any(kernel_kind(kernel.name) == "transform" for kernel in products):
        evidence.append("the convolution is computed by a transform")
    return evidence


def _of_less(products: Sequence[HardwareKernel]) -> list[str]:
    evidence = []
    if any("winograd" in kernel.name.lower() for kernel in products):
        evidence.append("Winograd's algorithm needs fewer products")
    if any("fft" in kernel.name.lower() for kernel in products):
        evidence.append("convolved by Fourier transform, which needs fewer products")
    if _matching(_ATTENTION, products):
        evidence.append("attention leaves masked blocks out")
    return evidence


def _matching(pattern: re.Pattern[str], kernels: Iterable[HardwareKernel]) -> list[HardwareKernel]:
    return [kernel for kernel in kernels if pattern.search(kernel.name)]
