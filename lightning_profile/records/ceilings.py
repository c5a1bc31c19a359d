"""What a device can do at best, and what that allows a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

ArithmeticKind = Literal["fp64", "fp32", "tf32", "fp16", "bf16", "fp8"]
ARITHMETIC_KINDS: tuple[ArithmeticKind, ...] = get_args(ArithmeticKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The rates that no layer can exceed on a device.

    Attributes:
        flop_per_s: Dense products by :data:`ArithmeticKind`, 16-bit and 8-bit ones accumulated in
            fp32; ``None`` where the device has no such unit or nobody gives a figure.
        bytes_per_s: Reads and writes of DRAM together; ``None`` if unknown.
        source: The vendor's document, or ``measured: ...``.
    """

    flop_per_s: Mapping[ArithmeticKind, float | None]
    bytes_per_s: float | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MathsMode:
    """How torch was told to compute products on a device.

    Attributes:
        float32_matmul: The arithmetic of a float32 matrix product; ``None`` if it can't be told.
        float32_convolution: That of a float32 convolution.
        float32_recurrent: That of a float32 recurrent layer.
        fp16_accumulation: Whether float16 matrix products may be summed in fp16 instead of fp32.
    """

    float32_matmul: ArithmeticKind | None
    float32_convolution: ArithmeticKind | None
    float32_recurrent: ArithmeticKind | None
    fp16_accumulation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The least time that some work can take (Williams et al., doi:10.1145/1498765.1498785).

    Attributes:
        time_ns: The longer of the time for the arithmetic and the time for the traffic.
        bound: Which of them it is, ``compute`` if they are equal; ``None`` without either.
        flop_per_byte: Arithmetic intensity; ``None`` without traffic.
        fraction: ``time_ns`` over the measured time: 1 is as fast as can be.
        arithmetic: What the products are computed in; ``None`` without any, or if unknown.
    """

    time_ns: float | None
    bound: Literal["compute", "memory"] | None
    flop_per_byte: float | None
    fraction: float | None
    arithmetic: ArithmeticKind | None = None
