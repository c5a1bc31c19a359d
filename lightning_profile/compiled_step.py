"""A step whose layers run in compiled graphs that no wrapper of a layer is around."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lightning_profile.measurement import Invocation, invocation
from lightning_profile.records import Layer

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule


def has_graph_without_wrapper(layers: Sequence[Layer]) -> bool:
    """Whether layers were compiled in place, or with the whole model: no call can be seen."""
    wrapped = {
        id(part)
        for layer in layers
        if layer.entry is not layer.module
        for part in layer.module.modules()
    }
    return any(layer.in_compiled_graph and id(layer.module) not in wrapped for layer in layers)


def step_invocation(
    model: LightningModule, method: str, batch: object, batch_idx: int
) -> Invocation:
    """The call of ``training_step`` or ``validation_step`` that is about to come."""
    takes_index = len(inspect.signature(getattr(type(model), method)).parameters) > 2
    made = invocation(model, method, (batch, batch_idx) if takes_index else (batch,), {})
    precision = model.trainer.precision_plugin
    return replace(made, context=precision.forward_context)
