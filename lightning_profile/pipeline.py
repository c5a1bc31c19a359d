"""The order of the stages: from a window's recording to its result.

Apart from the callback, this is the only place that knows more than one stage; no Lightning here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from torch import optim

from lightning_profile import theory
from lightning_profile.attribution import attribute
from lightning_profile.comparison import comparable_steps, compare
from lightning_profile.devices import describe_device
from lightning_profile.measurement import Recording, measure_footprint
from lightning_profile.records import (
    Call,
    Derivation,
    Equation,
    Footprint,
    FootprintComparison,
    Layer,
    WindowResult,
)


def analyse(
    recording: Recording,
    *,
    layers: Sequence[Layer],
    optimizers: Sequence[optim.Optimizer],
    device: torch.device,
    batch_sizes: Mapping[int, int | None],
    dataset: str | None,
    epoch: int,
    global_step: int,
) -> WindowResult:
    """Theory beside measurement for everything that a window recorded.

    Args:
        recording: The window's calls and operators.
        layers: The selected layers.
        optimizers: All optimizers of the training.
        device: Where the model trains.
        batch_sizes: Samples in the batch of each recorded step.
        dataset: Name of the training data.
        epoch: The epoch, from 0.
        global_step: Optimizer steps so far.
    """
    calls = [call for call in recording.calls if call is not None]
    costed = theory.cost_calls(layers, calls)
    measurements = attribute(recording.ops, recording.calls, memory_device=device.type)
    steps = comparable_steps(batch_sizes, calls)
    first = {call.layer: (call, costs) for call, costs in reversed(costed) if call.step in steps}
    derivations = {
        layer.qualified_name: Derivation(
            layer=layer,
            call=call,
            costs=costs,
            footprint=_footprint_equations(layer, call, optimizers),
        )
        for layer in layers
        if layer.qualified_name in first
        for call, costs in (first[layer.qualified_name],)
    }
    return WindowResult(
        epoch=epoch,
        global_step=global_step,
        batch_sizes=dict(batch_sizes),
        steps=tuple(steps),
        dataset=dataset,
        device=describe_device(device),
        calls=tuple(calls),
        measurements=tuple(measurements),
        comparisons=tuple(compare(layers, costed, measurements, steps)),
        derivations=tuple(derivations.values()),
        footprints=tuple(
            FootprintComparison(
                layer=layer,
                theoretical=_footprint_on_paper(derivations.get(layer.qualified_name)),
                measured=measure_footprint(layer, optimizers),
            )
            for layer in layers
        ),
    )


def _footprint_equations(
    layer: Layer, call: Call, optimizers: Sequence[optim.Optimizer]
) -> tuple[Equation, ...]:
    equations = theory.footprint(layer.module, call) or ()
    state = theory.optimizer_state(optimizers, dict(layer.module.named_parameters()))
    return equations if state is None else (*equations, state)


def _footprint_on_paper(derivation: Derivation | None) -> Footprint:
    """The equations' values; ``None`` for what has none, or if the layer did not run."""
    equations = derivation.footprint if derivation is not None else ()
    known = {equation.quantity: equation.value for equation in equations}
    return Footprint(**{field.name: known.get(field.name) for field in fields(Footprint)})
