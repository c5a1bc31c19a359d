"""Closed forms of the activation functions of ``torch.nn``.

The formulas are the definitions in PyTorch's documentation of ``torch.nn`` ("Non-linear
Activations") and their derivatives: x is the input, y the output, g the gradient of the output
and σ(x) = 1 / (1 + e⁻ˣ). Of a function in pieces, each element counts the comparisons and the
most expensive piece. The traffic is one tensor in and one out; the backward reads g and either x
or y, the table says which.

    Softmax     y = e^(x−m) / Σ e^(x−m), m = max x      grad_x = y (g − Σ g y)
    LogSoftmax  y = x − m − log Σ e^(x−m)               grad_x = g − e^y Σ g

What PyTorch creates follows from the table, too: a function that is computed in place and whose
derivative needs the input copies the input first, if there is a backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from lightning_profile.records import Call, Cost, Phase, PhaseCosts
from lightning_profile.theory.cost import phase_cost
from lightning_profile.theory.elementwise import (
    forward_cost,
    grad_input_cost,
    has_one_input,
    input_bytes,
    input_phases,
    output_bytes,
    output_elements,
    stored_bytes,
    times,
)
from lightning_profile.theory.expression import ZERO, Expression, symbol, total
from lightning_profile.theory.registry import kept_activations, phase_costs
from lightning_profile.theory.tensors import (
    NamedTensor,
    input_gradients,
    operand_tensors,
    output_tensors,
    parameter_gradients,
)


@dataclass(frozen=True, slots=True)
class Activation:
    """Operation counts of an activation function, per element of its output.

    Attributes:
        forward: Of the function.
        backward: Of its derivative, times the output's gradient.
        needs_input: Whether the derivative is computed from the input; else from the output.
        is_one_operator: Whether PyTorch computes it in one operator that keeps just that tensor.
            Of the others no closed form says what they create for the backward.
    """

    forward: int
    backward: int
    needs_input: bool
    is_one_operator: bool = True


_FROM_INPUT, _FROM_OUTPUT = True, False

ACTIVATIONS: dict[type[nn.Module], Activation] = {
    # max(0, x)                                  g if y > 0 else 0
    nn.ReLU: Activation(1, 1, _FROM_OUTPUT),
    # min(max(0, x), 6)                          g if 0 < x < 6 else 0
    nn.ReLU6: Activation(2, 2, _FROM_INPUT),
    # min(max(low, x), high)                     g if low < x < high else 0
    nn.Hardtanh: Activation(2, 2, _FROM_INPUT),
    # x if x > θ else v                          g if x > θ else 0
    nn.Threshold: Activation(1, 1, _FROM_INPUT),
    # x if x > 0 else s·x                        g if y > 0 else s·g
    nn.LeakyReLU: Activation(2, 2, _FROM_OUTPUT),
    # x if x > 0 else α(eˣ − 1)                  g if y > 0 else g·(y + α)
    nn.ELU: Activation(4, 3, _FROM_OUTPUT),
    # λ·(x if x > 0 else α(eˣ − 1))              λ·g if y > 0 else g·(y + λα), λα a constant
    nn.SELU: Activation(5, 3, _FROM_OUTPUT),
    # x if x > 0 else α(e^(x/α) − 1)             g if y > 0 else g·(y/α + 1)
    nn.CELU: Activation(5, 4, _FROM_OUTPUT),
    # x·σ(x)                                     g·σ·(1 + x·(1 − σ)), σ taking 3
    nn.SiLU: Activation(4, 8, _FROM_INPUT),
    # x·t, t = tanh(log(1 + eˣ)) taking 4        g·(t + x·(1 − t²)·σ(x))
    nn.Mish: Activation(5, 13, _FROM_INPUT),
    # 1 / (1 + e⁻ˣ)                              g·y·(1 − y)
    nn.Sigmoid: Activation(3, 3, _FROM_OUTPUT),
    # tanh x                                     g·(1 − y²)
    nn.Tanh: Activation(1, 3, _FROM_OUTPUT),
    # x·min(max(x + 3, 0), 6) / 6                g·(x/3 + ½) if −3 < x < 3, g above, 0 below
    nn.Hardswish: Activation(5, 5, _FROM_INPUT),
    # min(max(x + 3, 0), 6) / 6                  g/6 if −3 < x < 3 else 0
    nn.Hardsigmoid: Activation(4, 3, _FROM_INPUT),
    # log(1 + e^z) / β if z ≤ θ else x, z = β·x  g·e^z / (e^z + 1) if z ≤ θ else g
    nn.Softplus: Activation(6, 6, _FROM_INPUT),
    # x / (1 + |x|)                              g / (1 + |x|)²
    nn.Softsign: Activation(3, 4, _FROM_INPUT, is_one_operator=False),
    # log(1 / (1 + e⁻ˣ))                         g / (1 + eˣ)
    nn.LogSigmoid: Activation(4, 3, _FROM_INPUT, is_one_operator=False),
    # x − tanh x                                 g·tanh² x
    nn.Tanhshrink: Activation(2, 3, _FROM_INPUT, is_one_operator=False),
    # x − λ if x > λ, x + λ if x < −λ, else 0    g if x > λ or x < −λ else 0
    nn.Softshrink: Activation(3, 2, _FROM_INPUT),
    # x if x > λ or x < −λ else 0                g if x > λ or x < −λ else 0
    nn.Hardshrink: Activation(2, 2, _FROM_INPUT),
    # a·σ(b), input halved into a and b          g·σ and g·σ·a·(1 − σ), σ taking 3
    nn.GLU: Activation(4, 7, _FROM_INPUT),
    # max, −, exp, Σ, /                          ·, Σ, −, ·
    nn.Softmax: Activation(5, 4, _FROM_OUTPUT),
    nn.Softmax2d: Activation(5, 4, _FROM_OUTPUT),
    nn.Softmin: Activation(5, 4, _FROM_OUTPUT),
}

# max, −, exp, Σ, − and a log per row            exp, Σ, ·, −
_LOG_SOFTMAX = Activation(5, 4, _FROM_OUTPUT)
# x if x > 0 else a·x                            g if x > 0 else a·g; of a: Σ g·x where x ≤ 0
_PRELU, _PRELU_WEIGHT = Activation(2, 2, _FROM_INPUT), 3
# x·½(1 + erf(x/√2))                             g·(Φ + x·φ), φ = e^(−½x²)/√(2π); Φ, φ taking 4 each
_GELU = Activation(5, 11, _FROM_INPUT)
# ½x·(1 + t), t = tanh u, u = c(x + ax³)         g·(½(1 + t) + ½x·(1 − t²)·c(1 + 3ax²)), t taking 6,
# with x·x·x for the cube                        x² shared
_GELU_TANH = Activation(9, 18, _FROM_INPUT)


def _activation_costs(
    function: Activation, module: nn.Module, call: Call, *, per_row: Expression = ZERO
) -> dict[Phase, Cost] | None:
    if not has_one_input(call):
        return None
    elements = output_elements(call)
    return input_phases(
        call,
        forward_cost(
            call,
            total([times(function.forward, elements), per_row]),
            allocated=_created(function, module, call),
        ),
        grad_input_cost(
            call,
            times(function.backward, elements),
            needed=total([_needed(function, call), stored_bytes(call.parameters)]),
            allocated=input_gradients(call) if function.is_one_operator else None,
        ),
    )


def _kept_by_activation(function: Activation, module: nn.Module, call: Call) -> Expression | None:
    if not call.output_requires_grad:
        return ZERO
    return _needed(function, call) if function.is_one_operator else None


def _needed(function: Activation, call: Call) -> Expression:
    return input_bytes(call) if function.needs_input else output_bytes(call)


def _created(function: Activation, module: nn.Module, call: Call) -> Sequence[NamedTensor] | None:
    if call.output_requires_grad and not function.is_one_operator:
        return None
    if not getattr(module, "inplace", False):
        return output_tensors(call)
    # What is changed in place is copied first, if the backward needs it.
    copies = call.output_requires_grad and function.needs_input
    return operand_tensors(call, call.inputs, "input") if copies else ()


for kind, activation in ACTIVATIONS.items():
    phase_costs.register(kind, partial(_activation_costs, activation))
for kind, activation in {
    **ACTIVATIONS,
    nn.GELU: _GELU,
    nn.PReLU: _PRELU,
    nn.LogSoftmax: _LOG_SOFTMAX,
}.items():
    kept_activations.register(kind, partial(_kept_by_activation, activation))


@phase_costs.register(nn.GELU)
def _gelu_costs(module: nn.GELU, call: Call) -> PhaseCosts | None:
    return _activation_costs(_GELU_TANH if module.approximate == "tanh" else _GELU, module, call)


@phase_costs.register(nn.LogSoftmax)
def _log_softmax_costs(module: nn.LogSoftmax, call: Call) -> PhaseCosts | None:
    if module.dim is None:
        return None
    rows = output_elements(call) // symbol("row elements", call.outputs[0].shape[module.dim])
    return _activation_costs(_LOG_SOFTMAX, module, call, per_row=rows)


@phase_costs.register(nn.PReLU)
def _prelu_costs(module: nn.PReLU, call: Call) -> PhaseCosts | None:
    costs = _activation_costs(_PRELU, module, call)
    if costs is not None and call.trains("weight"):
        # One operator computes both gradients, from the same two tensors.
        has_read = Phase.GRAD_INPUT in costs
        costs[Phase.GRAD_WEIGHT] = phase_cost(
            elementwise=times(_PRELU_WEIGHT, output_elements(call)),
            read=ZERO if has_read else total([output_bytes(call), input_bytes(call)]),
            write=stored_bytes(call.parameters),
            allocated=parameter_gradients(call.parameters),
        )
    return costs
