"""Closed forms of Embedding and EmbeddingBag.

    Embedding      y_i = W[index_i]                 grad_W[index_i] += g_i
    EmbeddingBag   y_b = Σ, mean or max of the      grad_W[index_i] += g_b, g_b / |b|, or g_b where
                   rows W[index_i] in the bag b     the row gave the maximum

(PyTorch's documentation of ``torch.nn``, "Sparse Layers".) With n indices of width D a bag takes
n·D additions or comparisons, a mean one division per output on top; a lookup none. The gradient
takes n·D additions, that of a maximum one per output. A ``padding_idx`` counts like any other.

Which rows are read depends on the indices, so the forward's reads have no closed form. A sparse
gradient is added up by the optimizer, if at all. Left out are ``max_norm``, which changes W in
the forward, and ``per_sample_weights``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lightning_profile.records import Call, Phase, PhaseCosts
from lightning_profile.theory.cost import operand_bytes, phase_cost
from lightning_profile.theory.elementwise import (
    input_bytes,
    input_elements,
    output_bytes,
    output_elements,
    stored_bytes,
)
from lightning_profile.theory.expression import ZERO, Expression, symbol, total
from lightning_profile.theory.registry import kept_activations, phase_costs
from lightning_profile.theory.tensors import NamedTensor, output_tensors, parameter_gradients


@phase_costs.register(nn.Embedding)
def _embedding_costs(module: nn.Embedding, call: Call) -> PhaseCosts | None:
    if len(call.inputs) != 1 or len(call.outputs) != 1 or module.max_norm is not None:
        return None
    gathered = _gathered(module, call)
    return _lookup_costs(
        module,
        call,
        forward=ZERO,
        backward=gathered,
        needed=input_bytes(call),
        allocated=output_tensors(call),
    )


@kept_activations.register(nn.Embedding)
def _kept_by_embedding(module: nn.Embedding, call: Call) -> Expression:
    return input_bytes(call) if call.trains("weight") else ZERO


@phase_costs.register(nn.EmbeddingBag)
def _bag_costs(module: nn.EmbeddingBag, call: Call) -> PhaseCosts | None:
    is_weighted = any(each.name == "per_sample_weights" for each in call.inputs)
    if not call.inputs or len(call.outputs) != 1 or module.max_norm is not None or is_weighted:
        return None
    gathered, outputs = _gathered(module, call), output_elements(call)
    forward, backward, needed = {
        "sum": (gathered, gathered, input_bytes(call)),
        "mean": (gathered + outputs, outputs + gathered, input_bytes(call)),
        # How the places of the maxima are kept is up to the device.
        "max": (gathered, outputs, None),
    }[module.mode]
    return _lookup_costs(
        module,
        call,
        forward=forward,
        backward=backward,
        needed=needed,
        # PyTorch keeps the bags' sizes and more for the backward, by device.
        allocated=None if call.output_requires_grad else output_tensors(call),
    )


def _gathered(module: nn.Embedding | nn.EmbeddingBag, call: Call) -> Expression:
    return input_elements(call) * symbol("D", module.embedding_dim)


def _lookup_costs(
    module: nn.Embedding | nn.EmbeddingBag,
    call: Call,
    *,
    forward: Expression,
    backward: Expression,
    needed: Expression | None,
    allocated: Sequence[NamedTensor] | None,
) -> PhaseCosts:
    costs = {
        Phase.FORWARD: phase_cost(
            elementwise=forward, read=None, write=output_bytes(call), allocated=allocated
        )
    }
    if call.trains("weight"):
        if module.scale_grad_by_freq:
            # Each index is counted, and each row that is added divided by the count.
            backward = backward + input_elements(call) + _gathered(module, call)
        weight = stored_bytes(call.parameters)
        gradient = operand_bytes(call, call.outputs, "output gradient")
        costs[Phase.GRAD_WEIGHT] = phase_cost(
            elementwise=ZERO if module.sparse else backward,
            read=None if needed is None else total([gradient, needed]),
            write=None if module.sparse else weight,
            allocated=None if module.sparse else parameter_gradients(call.parameters),
        )
    return costs
