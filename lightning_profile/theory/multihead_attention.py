"""Closed forms of nn.MultiheadAttention.

    q = query W_qᵀ + b_q    k = key W_kᵀ + b_k    v = value W_vᵀ + b_v    (in-projections)
    output = attention(q, k, v) W_oᵀ + b_o                               (out-projection)

(Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.) ``add_bias_kv`` and ``add_zero_attn`` append
a key each, which attention sees like any other. All pairs of a query and a key count unless
``is_causal`` is given, also where a mask hides some: its values are not known.

Gradients of parameters belong to grad_weight. All else that the backward computes belongs to
grad_input, even if it is needed only for the gradient of an in-projection's parameter: the
out-projection's gradient, those of attention's products that q, k or v need, and an in-projection's
gradient for each of query, key and value that needs one. The weights that come out as second
output are taken not to be part of the loss.

Element-wise, beside attention's own: bias additions, an addition per pair for each mask (none for
``is_causal``), dropout as in :mod:`lightning_profile.theory.dropout` with 3 operations per pair
forward and 1 backward, and an addition per pair for the mean of the weights over the heads. Of the
backward, the sums of one tensor's gradients as query, key and value are left out.

Traffic is compulsory: what goes in and comes out of the layer, once. q, k, v and all that is made
of them count as kept on chip. Query, key and value count as three tensors also where they are one,
as the facts of a call don't tell.
"""

from __future__ import annotations

from torch import nn

from lightning_profile.records import Call, Cost, Phase, PhaseCosts
from lightning_profile.theory.cost import operand_bytes, phase_cost
from lightning_profile.theory.elementwise import times
from lightning_profile.theory.expression import ZERO, Expression, total
from lightning_profile.theory.multihead_attention_geometry import Geometry, attention_geometry
from lightning_profile.theory.registry import phase_costs


@phase_costs.register(nn.MultiheadAttention)
def _multihead_attention_costs(module: nn.MultiheadAttention, call: Call) -> PhaseCosts | None:
    geometry = attention_geometry(module, call)
    if geometry is None:
        return None
    costs = {Phase.FORWARD: _forward(geometry, call)}
    if call.output_requires_grad and geometry.output.input_needs_gradient:
        costs[Phase.GRAD_INPUT] = _grad_input(geometry, call)
    if call.output_requires_grad and any(each.requires_grad for each in call.parameters):
        costs[Phase.GRAD_WEIGHT] = _grad_weight(geometry, call)
    return costs


def _forward(geometry: Geometry, call: Call) -> Cost:
    g = geometry
    return phase_cost(
        flop=total([*(each.flop for each in g.projections), g.attention.forward_flop]),
        elementwise=total(
            [
                g.attention.elementwise_flop,
                times(g.pair_operations, g.attention.pairs),
                *(each.outputs for each in g.projections if each.has_bias),
            ]
        ),
        elementwise_name="scale, softmax, masks, dropout, mean, bias additions",
        read=_operands(geometry, call),
        write=operand_bytes(call, call.outputs, "output"),
        allocated=None,
    )


def _grad_input(geometry: Geometry, call: Call) -> Cost:
    g = geometry
    products = [
        (g.output.input_needs_gradient, g.output.flop),
        (g.needs_value, g.attention.values_flop),  # dV
        (g.needs_scores, g.attention.values_flop),  # dP
        (g.needs_query, g.attention.scores_flop),  # dQ
        (g.needs_key, g.attention.scores_flop),  # dK
        *((each.input_needs_gradient, each.flop) for each in (g.query, g.key, g.value)),
    ]
    elementwise = [g.attention.backward_elementwise_flop]
    if g.has_dropout:
        elementwise.append(g.attention.pairs)
    wanted = [each for each in call.inputs if each.requires_grad]
    return phase_cost(
        flop=total([flop for is_needed, flop in products if is_needed]),
        elementwise=total(elementwise) if g.needs_scores else ZERO,
        elementwise_name="gradient of softmax, scale and dropout",
        read=total([_output_gradient(call), _operands(geometry, call)]),
        write=operand_bytes(call, wanted, ""),
        allocated=None,
    )


def _grad_weight(geometry: Geometry, call: Call) -> Cost:
    g = geometry
    products = [each.flop for each in g.projections if each.trains_weight]
    trained = [each for each in call.parameters if each.requires_grad]
    appended = [g.appended for each in trained if each.role in {"bias_k", "bias_v"}]
    biases = [each.outputs for each in g.projections if each.trains_bias]
    return phase_cost(
        flop=total(products),
        elementwise=total([*biases, *appended]),
        elementwise_name="bias gradient additions",
        read=total([_output_gradient(call), _inputs(geometry, call) if products else ZERO]),
        write=operand_bytes(call, trained, ""),
        allocated=None,
    )


def _operands(geometry: Geometry, call: Call) -> Expression:
    return total([_inputs(geometry, call), operand_bytes(call, call.parameters, "")])


def _inputs(geometry: Geometry, call: Call) -> Expression:
    """Query, key, value and masks; a causal mask need not be read."""
    read = [each for each in call.inputs if not (geometry.is_causal and each.name == "attn_mask")]
    return operand_bytes(call, read, "")


def _output_gradient(call: Call) -> Expression:
    return operand_bytes(call, call.outputs[:1], "output gradient")
