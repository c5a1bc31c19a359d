"""What a capture gives: the calls of each layer in a step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lightning_profile.counters.geometry import Geometry
from lightning_profile.records import Layer, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedCall:
    """The calls of a layer in a step that are alike.

    Attributes:
        geometry: What they have in common.
        device: Where they ran.
        calls: How many.
        backward_calls: For how many of them a gradient arrived.
        package: The file to repeat one of them from; ``None`` if another call, of
            this layer or of another one like it, stands for these.
    """

    geometry: Geometry
    device: torch.device
    calls: int
    backward_calls: int
    package: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedLayer:
    """What was kept of a layer in a step.

    Attributes:
        layer: The layer.
        calls: Its calls; empty if there were none.
        unavailable: Why there is nothing, or not all.
    """

    layer: Layer
    calls: tuple[CapturedCall, ...]
    unavailable: Unavailable | None
