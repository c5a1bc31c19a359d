"""Records real steps of a plain torch model, without a trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from lightning_profile.attribution import attribute
from lightning_profile.comparison import compare
from lightning_profile.measurement import Recording, Window
from lightning_profile.records import Comparison, Layer, Measurement
from lightning_profile.selection import Pattern, select_layers
from lightning_profile.theory import KnownTheory

Patterns = Pattern | Sequence[Pattern] | None


def record(
    model: nn.Module, layers: Patterns, step: Callable[[], object], steps: int = 1
) -> tuple[Sequence[Layer], Recording]:
    """``step`` under a window; returns the layers and what was seen.

    If a step returns a loss, a scalar, its backward is announced and run here, as by Lightning.
    """
    selected = select_layers(model, layers).watched
    window = Window(selected, torch.device("cpu"))

    def whole_step() -> None:
        loss = step()
        if isinstance(loss, torch.Tensor) and loss.requires_grad and loss.ndim == 0:
            window.before_backward(loss)
            loss.backward()

    whole_step()  # the first step of a process allocates what later ones find
    window.warm_up()
    whole_step()
    window.start()
    for number in range(steps):
        window.begin_step(number)
        whole_step()
        window.end_step()
    return selected, window.finish()


def measure(
    model: nn.Module, layers: Patterns, step: Callable[[], object], steps: int = 1
) -> dict[tuple[str | None, str | None], Measurement]:
    """Measurements of the last step by layer and phase; ``optimizer`` or ``None`` without one."""
    selected, recording = record(model, layers, step, steps)
    rows = _attribute(selected, recording)
    return {
        (
            "optimizer" if row.is_optimizer else row.layer,
            row.phase.value if row.phase else None,
        ): row
        for row in rows
    }


def _attribute(layers: Sequence[Layer], recording: Recording) -> list[Measurement]:
    return attribute(
        recording.ops,
        recording.calls,
        memory_device="cpu",
        reported={layer.qualified_name for layer in layers if layer.has_row},
        graphs=recording.graphs,
    )


def compare_step(
    model: nn.Module, layers: Patterns, step: Callable[[], object]
) -> dict[tuple[str, str], Comparison]:
    """Theory beside measurement of one step by layer and phase; both empty for the rest."""
    selected, recording = record(model, layers, step)
    rows = _attribute(selected, recording)
    comparisons = compare(selected, KnownTheory().cost_calls(selected, recording.calls), rows, [0])
    return {
        (each.layer.qualified_name if each.layer else "", each.phase.value if each.phase else ""): (
            each
        )
        for each in comparisons
        if not each.is_optimizer
    }
