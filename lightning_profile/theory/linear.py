"""Closed forms of Linear and Bilinear.

    Linear    y = x Wᵀ + b             grad_x = grad_y W,  grad_W = grad_yᵀ x
    Bilinear  y_o = x₁ᵀ W_o x₂ + b_o   grad_x₁ = Σ_o W_o (g_o x₂),  grad_x₂ = Σ_o W_oᵀ (g_o x₁),
                                       grad_W_o = Σ_n (g_o x₁) x₂ᵀ

At every position Linear takes in·out multiply-accumulates, forward and for each gradient
(Goodfellow, Bengio & Courville, "Deep Learning", section 6.5.6). Bilinear contracts the weight
with one input and the result with the other, out·in₁·in₂ and out·in₂; each of its gradients
scales an input by the output's gradient, which is element-wise, and contracts once.
"""

from __future__ import annotations

from torch import nn

from lightning_profile.records import Call, Phase, PhaseCosts
from lightning_profile.theory.cost import operand_bytes, phase_cost, product_costs
from lightning_profile.theory.expression import ZERO, Expression, product, symbol, total
from lightning_profile.theory.registry import kept_activations, phase_costs
from lightning_profile.theory.tensors import (
    gradients_of,
    operand_tensors,
    output_tensors,
    parameter_gradients,
    total_bytes,
)


@phase_costs.register(nn.Linear)
def _linear_costs(module: nn.Linear, call: Call) -> PhaseCosts | None:
    shape = call.inputs[0].shape
    if len(call.outputs) != 1 or call.outputs[0].shape != (*shape[:-1], module.out_features):
        return None
    return product_costs(
        call,
        product(
            [
                _positions(shape[:-1]),
                symbol("in", module.in_features),
                symbol("out", module.out_features),
            ]
        ),
    )


@kept_activations.register(nn.Linear)
def _kept_by_linear(module: nn.Linear, call: Call) -> Expression:
    return operand_bytes(call, call.inputs, "input") if call.trains("weight") else ZERO


@phase_costs.register(nn.Bilinear)
def _bilinear_costs(module: nn.Bilinear, call: Call) -> PhaseCosts | None:
    if len(call.inputs) != 2 or len(call.outputs) != 1:
        return None
    first, second = call.inputs
    n = _positions(first.shape[:-1])
    in1, in2 = symbol("in1", module.in1_features), symbol("in2", module.in2_features)
    out = symbol("out", module.out_features)
    outputs = operand_bytes(call, call.outputs, "output")
    bias = n * out if call.has("bias") else ZERO
    costs = {
        Phase.FORWARD: phase_cost(
            flop=2 * (n * out * in1 * in2 + n * out * in2),
            elementwise=bias,
            elementwise_name="bias additions",
            read=operand_bytes(call, (first, second, *call.parameters), ""),
            write=outputs,
            allocated=output_tensors(call),
        )
    }
    if not call.output_requires_grad:
        return costs
    once = 2 * (n * out * in1 * in2)
    weight = operand_bytes(call, [each for each in call.parameters if each.role == "weight"], "")
    wanted = [each for each in call.inputs if each.requires_grad]
    if wanted:
        gradients = gradients_of(operand_tensors(call, wanted, ""))
        others = [second if each is first else first for each in wanted]
        costs[Phase.GRAD_INPUT] = phase_cost(
            flop=total([once for _ in wanted]),
            elementwise=total([n * out * (in2 if each is second else in1) for each in others]),
            elementwise_name="scaling by the output's gradient",
            read=total([outputs, weight, operand_bytes(call, others, "")]),
            write=total_bytes(gradients),
            allocated=gradients,
        )
    trained = [each for each in call.parameters if each.requires_grad]
    if trained:
        is_product = call.trains("weight")
        costs[Phase.GRAD_WEIGHT] = phase_cost(
            flop=once if is_product else ZERO,
            elementwise=total(
                [n * out * in1 if is_product else ZERO, bias if call.trains("bias") else ZERO]
            ),
            elementwise_name="scaling by the output's gradient, bias gradient additions",
            read=total([outputs, operand_bytes(call, call.inputs, "") if is_product else ZERO]),
            write=operand_bytes(call, trained, ""),
            allocated=parameter_gradients(trained),
        )
    return costs


def _positions(shape: tuple[int, ...]) -> Expression:
    """Rows that the product is computed for: all leading axes together."""
    first, *rest = shape or (1,)
    return product([symbol("N", first), *(symbol("L", each) for each in rest)])
