"""The order of the stages: from a window's recording to its result.

Apart from the conductors of a training (``callback``, ``profiled_run`` and ``stage_recorder``) this
is the only place that knows more than one stage; no Lightning here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from torch import optim

from lightning_profile import theory
from lightning_profile.attribution import attribute, step_peaks
from lightning_profile.comparison import (
    compare,
    steps_of_one_batch_size,
    with_hardware,
)
from lightning_profile.counters import deviation_reason
from lightning_profile.device_limits import DeviceLimits
from lightning_profile.devices import describe_device
from lightning_profile.measurement import (
    InferredCalls,
    Recording,
    allocator_settings,
    infer_calls,
    measure_footprint,
)
from lightning_profile.records import (
    Call,
    CostedCall,
    Derivation,
    Equation,
    Footprint,
    FootprintComparison,
    HardwareCount,
    Layer,
    Phase,
    Unavailable,
    WindowResult,
)

_QUANTITIES = [field.name for field in fields(Footprint)]


class Analyst:
    """Reads the windows of one training, which have most of their theory in common.

    Attributes:
        limits: What the device can do at best.
    """

    def __init__(self) -> None:
        self._theory = theory.KnownTheory()
        self.limits = DeviceLimits()

    def analyse(
        self,
        recording: Recording,
        *,
        layers: Sequence[Layer],
        optimizers: Sequence[optim.Optimizer],
        device: torch.device,
        batch_sizes: Mapping[int, int | None],
        dataset: str | None,
        stage: str,
        epoch: int,
        global_step: int,
        hardware: Mapping[tuple[str, Phase], HardwareCount | Unavailable],
    ) -> WindowResult:
        """Theory beside measurement for everything that a window recorded.

        Args:
            recording: The window's calls and operators.
            layers: The watched layers.
            optimizers: All optimizers of the training.
            device: Where the model trains.
            batch_sizes: Samples in the batch of each recorded step.
            dataset: Name of the data.
            stage: ``train`` or ``validate``.
            epoch: The epoch, from 0.
            global_step: Optimizer steps so far.
            hardware: What the hardware's counters say, by qualified name and phase.
        """
        in_graph = [layer for layer in layers if layer.in_compiled_graph]
        inferred = infer_calls(recording.invocations, in_graph) if in_graph else InferredCalls()
        costed = self._theory.cost_calls(layers, recording.calls)
        costed_inferred = self._theory.cost_calls(layers, inferred.calls)
        rows = [layer for layer in layers if layer.has_row]
        measurements = attribute(
            recording.ops,
            recording.calls,
            memory_device=device.type,
            reported={layer.qualified_name for layer in rows},
            graphs=recording.graphs,
        )
        steps = steps_of_one_batch_size(batch_sizes)
        comparisons = compare(
            layers,
            costed,
            measurements,
            steps,
            inferred=costed_inferred,
            graph_fault=inferred.fault,
            memory_device=device.type,
            allocator_settings=allocator_settings(),
            limits=self.limits.of(device),
        )
        comparisons = with_hardware(
            self.limits.check(comparisons, device), hardware, deviation_reason
        )
        reported = {each.layer.qualified_name for each in comparisons if each.layer is not None}
        rows = [layer for layer in rows if layer.qualified_name in reported]
        first_calls = _first_calls((*costed, *costed_inferred))
        derived = [
            layer
            for layer in rows
            if not layer.is_container and layer.qualified_name in first_calls
        ]
        parameters = {layer.qualified_name: dict(layer.module.named_parameters()) for layer in rows}
        states = theory.optimizer_states(
            optimizers, [parameters[layer.qualified_name] for layer in derived]
        )
        derivations = {
            layer.qualified_name: _derivation(layer, first_calls[layer.qualified_name], state)
            for layer, state in zip(derived, states, strict=True)
        }
        return WindowResult(
            stage=stage,
            epoch=epoch,
            global_step=global_step,
            batch_sizes=dict(batch_sizes),
            steps=tuple(steps),
            dataset=dataset,
            device=describe_device(device),
            calls=tuple(call for call in recording.calls if call is not None),
            measurements=tuple(
                row for row in measurements if row.layer is None or row.layer in reported
            ),
            comparisons=tuple(comparisons),
            derivations=tuple(derivations.values()),
            footprints=tuple(
                FootprintComparison(
                    layer=layer,
                    theoretical=_footprint_on_paper(derivations.get(layer.qualified_name)),
                    measured=measure_footprint(
                        parameters[layer.qualified_name].values(),
                        optimizers,
                        _call_of(layer, first_calls),
                    ),
                )
                for layer in rows
            ),
            spreads={},
            ceilings=self.limits.ceilings,
            empirical_ceilings=self.limits.empirical,
            step_peak_bytes=step_peaks(recording.ops, device.type),
        )


def _first_calls(costed: Sequence[CostedCall | None]) -> dict[str, CostedCall]:
    """The first complete call of each layer."""
    first: dict[str, CostedCall] = {}
    for each in costed:
        if each is not None and each.call.is_complete:
            first.setdefault(each.call.layer, each)
    return first


def _derivation(layer: Layer, costed: CostedCall, state: Equation | None) -> Derivation:
    return Derivation(
        layer=layer,
        call=costed.call,
        costs=costed.costs,
        reason=costed.reason,
        footprint=costed.footprint if state is None else (*costed.footprint, state),
    )


def _call_of(layer: Layer, first_calls: Mapping[str, CostedCall]) -> Call | None:
    first = first_calls.get(layer.qualified_name)
    return None if first is None else first.call


def _footprint_on_paper(derivation: Derivation | None) -> Footprint:
    """The equations' values; ``None`` for what has none, or if the layer did not run."""
    equations: tuple[Equation, ...] = derivation.footprint if derivation is not None else ()
    known = {equation.quantity: equation.value for equation in equations}
    return Footprint(**{quantity: known.get(quantity) for quantity in _QUANTITIES})
