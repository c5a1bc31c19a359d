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
        # Without products there is no time for them, whatever the ceiling.
        flop_per_s = self._flop_per_s(layer, element_type) if cost.flop else 1.0
        return roofline(
            flop=cost.flop,
            traffic_bytes=cost.read_bytes + cost.write_bytes,
            flop_per_s=flop_per_s,
            bytes_per_s=self.ceilings.bytes_per_s,
            measured_time_ns=time_ns,
        )

    def _flop_per_s(self, layer: Layer, element_type: dtype | None) -> float | None:
        if layer.is_container or element_type is None:
            return None  # layers of several kinds may be inside
        kind = self.kind_of(element_type, product_kind(layer.module))
        # torch has kernels of its own for depthwise convolutions, which know no TF32.
        if kind == "tf32" and getattr(layer.module, "groups", 1) > 1:
            return None
        return None if kind is None else self.ceilings.flop_per_s.get(kind)


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
