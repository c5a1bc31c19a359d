"""Records real steps of a plain torch model, without a trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from lightning_profile.attribution import attribute
from lightning_profile.measurement import Recording, Window
from lightning_profile.records import Layer, Measurement
from lightning_profile.selection import select_layers


def record(
    model: nn.Module, layers: Sequence[str], step: Callable[[], object], steps: int = 1
) -> tuple[list[Layer], Recording]:
    """``step`` under a window; returns the layers and what was seen."""
    selected = select_layers(model, layers)
    window = Window(selected, torch.device("cpu"))
    step()  # the first step of a process allocates what later ones find
    window.warm_up()
    step()
    window.start()
    for number in range(steps):
        window.begin_step(number)
        step()
        window.end_step()
    return selected, window.finish()


def measure(
    model: nn.Module, layers: Sequence[str], step: Callable[[], object], steps: int = 1
) -> dict[tuple[str | None, str | None], Measurement]:
    """Measurements of the last step by layer and phase."""
    _, recording = record(model, layers, step, steps)
    rows = attribute(recording.ops, recording.calls, memory_device="cpu")
    return {(row.layer, row.phase.value if row.phase else None): row for row in rows}
