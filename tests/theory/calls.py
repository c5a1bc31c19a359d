"""Real calls of a layer, as the hooks of a window see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_profile.measurement.facts import Arguments, output_facts, parameter_facts
from lightning_profile.measurement.tensors import tensors_in
from lightning_profile.records import Call, CostedCall, Layer, PhaseCosts
from lightning_profile.theory import cost_call


@dataclass(frozen=True)
class RealCall:
    """A call, and what went in and came out of it."""

    layer: Layer
    call: Call
    inputs: list[Tensor]
    outputs: list[Tensor]


def layer_of(module: nn.Module) -> Layer:
    name = type(module).__name__
    return Layer(
        qualified_name="layer",
        display_name=f"{name}-1",
        type_name=name,
        module=module,
        entry=module,
    )


def call_layer(module: nn.Module, *args: Any, **kwargs: Any) -> RealCall:
    """Call ``module`` and note the facts."""
    inputs, options = Arguments(module).facts(args, kwargs)
    parameters = parameter_facts(module)
    result = module(*args, **kwargs)
    outputs = list(tensors_in(result))
    call = Call(
        layer="layer",
        inputs=inputs,
        outputs=output_facts(result),
        parameters=parameters,
        options=options,
        is_training=module.training,
        device_type=outputs[0].device.type if outputs else "",
    )
    return RealCall(layer_of(module), call, list(tensors_in((args, kwargs))), outputs)


def call_shape(
    module: nn.Module, *shapes: tuple[int, ...], needs_gradient: bool = True
) -> RealCall:
    """Call ``module`` on random numbers of the given shapes."""
    return call_layer(module, *(torch.rand(s, requires_grad=needs_gradient) for s in shapes))


def costed(module: nn.Module, *shapes: tuple[int, ...], **options: Any) -> CostedCall:
    real = call_shape(module, *shapes, **options)
    return cost_call(real.layer, real.call)


def costs_of(module: nn.Module, *shapes: tuple[int, ...], **options: Any) -> PhaseCosts:
    """Costs of a call on tensors of these shapes, which there must be."""
    result = costed(module, *shapes, **options)
    assert result.costs is not None, result.reason
    return result.costs
