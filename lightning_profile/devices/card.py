"""One row of the table of cards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_profile.records import ArithmeticKind, Ceilings

_TERA = 1e12
_GIGA = 1e9
_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One row of the table of cards, in the units of the vendor's documents.

    The rates are dense (no structured sparsity), at the boost clock. fp32 runs on the CUDA cores;
    tf32, fp16, bf16 and fp8 on the tensor cores, summed in fp32 as a training does. ``None`` where
    the card has no such unit or the vendor gives no figure.

    Attributes:
        name: What the card is called.
        reported_name: What torch reports, without the ``NVIDIA`` that older drivers leave out.
        multiprocessors: Streaming multiprocessors in use.
        memory_gib: Memory on the card. The vendor writes GB; the driver shows a little less.
        gb_per_s: Bandwidth of that memory, in 10⁹ bytes per second.
        fp64: TFLOP/s, on ``fp64_unit``.
        fp32: TFLOP/s.
        tf32: TFLOP/s.
        fp16: TFLOP/s.
        bf16: TFLOP/s.
        fp8: TFLOP/s.
        fp64_unit: Which cores reach the fp64 peak.
        source: The vendor's document and where it is.
    """

    name: str
    reported_name: str
    multiprocessors: int
    memory_gib: int
    gb_per_s: float
    fp64: float
    fp32: float
    tf32: float | None = None
    fp16: float | None = None
    bf16: float | None = None
    fp8: float | None = None
    fp64_unit: Literal["CUDA cores", "tensor cores"] = "CUDA cores"
    source: str

    @property
    def memory_bytes(self) -> int:
        """Memory on the card."""
        return self.memory_gib * _GIB

    @property
    def ceilings(self) -> Ceilings:
        """The row as rates per second."""
        tflop_per_s: dict[ArithmeticKind, float | None] = {
            "fp64": self.fp64,
            "fp32": self.fp32,
            "tf32": self.tf32,
            "fp16": self.fp16,
            "bf16": self.bf16,
            "fp8": self.fp8,
        }
        return Ceilings(
            flop_per_s={
                kind: None if rate is None else rate * _TERA for kind, rate in tflop_per_s.items()
            },
            bytes_per_s=self.gb_per_s * _GIGA,
            source=self.source,
        )
