"""Each row of a window beside the least time that the device allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import dtype, nn

from lightning_profile.comparison.notes import EXCEEDED
from lightning_profile.comparison.roofline import roofline
from lightning_profile.records import (
    ArithmeticKind,
    Ceilings,
    Comparison,
    Cost,
    Layer,
    Roofline,
)

ProductKind = Literal["matmul", "convolution", "recurrent"]
KindOf = Callable[[dtype, ProductKind], ArithmeticKind | None]

_CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_TOLERANCE = 1.1  # of a stopwatch on a machine that does other things too
_RECURRENT = (nn.RNNBase,)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device allows at best.

    Attributes:
        ceilings: The device's.
        kind_of: The arithmetic that products of an element type run in.
    """

    ceilings: Ceilings
    kind_of: KindOf

    def roofline_of(
        self, layer: Layer, element_type: dtype | None, cost: Cost | None, time_ns: int | None
    ) -> Roofline | None:
        """The roofline of a phase, as far as it can be told.

        Args:
            layer: The layer.
            element_type: Of the products.
            cost: Theory of the phase.
            time_ns: What the phase took.
        """
        if cost is None or cost.read_bytes is None or cost.write_bytes is None:
            return None
        arithmetic = None
        if not layer.is_container and element_type is not None:  # else of several kinds, maybe
            groups = getattr(layer.module, "groups", 1)
            arithmetic = self.arithmetic_of(product_kind(layer.module), groups, element_type)
        return self.roofline_in(arithmetic, cost.flop, cost.read_bytes + cost.write_bytes, time_ns)

    def arithmetic_of(
        self, product: ProductKind, groups: int, element_type: dtype
    ) -> ArithmeticKind | None:
        """The arithmetic that a layer's products run in; ``None`` if that can't be told.

        Args:
            product: How they are computed.
            groups: Of a convolution, else 1.
            element_type: Theirs.
        """
        kind = self.kind_of(element_type, product)
        # torch has kernels of its own for depthwise convolutions, which know no TF32.
        return None if kind == "tf32" and groups > 1 else kind

    def roofline_in(
        self,
        arithmetic: ArithmeticKind | None,
        flop: int | None,
        traffic_bytes: int | None,
        time_ns: float | None = None,
    ) -> Roofline:
        """The roofline of products in ``arithmetic``, as far as it can be told.

        Args:
            arithmetic: ``None`` if unknown.
            flop: Of the products.
            traffic_bytes: Reads and writes.
            time_ns: What they took.
        """
        flop_per_s = None if arithmetic is None else self.ceilings.flop_per_s.get(arithmetic)
        return roofline(
            flop=flop,
            traffic_bytes=traffic_bytes,
            # Without products there is no time for them, whatever the ceiling.
            flop_per_s=1.0 if flop == 0 else flop_per_s,
            bytes_per_s=self.ceilings.bytes_per_s,
            measured_time_ns=time_ns,
            arithmetic=arithmetic,
        )


def exceed(comparisons: Sequence[Comparison]) -> bool:
    """Whether a row computes faster than its ceiling allows: then it was measured too low.

    Not asked of traffic: what lies in a cache is faster than DRAM.
    """
    return any(
        each.roofline is not None
        and each.roofline.bound == "compute"
        and (each.roofline.fraction or 0) > _TOLERANCE
        for each in comparisons
    )


def without_rooflines(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same rows, with why they have no roofline."""
    return [
        replace(
            each,
            roofline=None,
            note="; ".join(note for note in (each.note, EXCEEDED) if note),
        )
        if each.roofline is not None
        else each
        for each in comparisons
    ]


def product_kind(module: nn.Module) -> ProductKind:
    """How the products of a layer, not of a container, are computed."""
    if isinstance(module, _CONVOLUTIONS):
        return "convolution"
    return "recurrent" if isinstance(module, _RECURRENT) else "matmul"
