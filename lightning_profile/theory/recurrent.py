"""Closed forms of RNN, LSTM and GRU, and of their cells.

Every step of a layer multiplies its input and the state before it with the weights of its gates;
an LSTM with ``proj_size`` multiplies the result with ``weight_hr`` (equations of PyTorch's
documentation of nn.RNN, nn.LSTM and nn.GRU):

    RNN    1 gate     h' = tanh(a) or relu(a),  a = W_i x + b_i + W_h h + b_h
    LSTM   4 gates    c' = σ(f) c + σ(i) tanh(g),  h' = σ(o) tanh(c')
    GRU    3 gates    n = tanh(W_in x + b_in + σ(r) (W_hn h + b_hn)),  h' = (1 − σ(z)) n + σ(z) h

    multiply-accumulates per row = gates · H · (in + H)
    with a projection            = gates · H · (in + P) + H · P

A row is a step of one sequence. The state before the first step is multiplied also where it is
zero because none was given.

The backward (backpropagation through time: Goodfellow, Bengio & Courville, "Deep Learning", section
10.2.2) takes each of these products again for the gradient of a weight. As much again it takes for
the gradient of an input that needs one, and for that of the state before each step: before the
first one only if a state was given that needs a gradient. Gradients of weights belong to
grad_weight, all else to grad_input, even if only a weight's gradient needs it. All that comes out
is taken to be part of the loss.

oneDNN's fused LSTM, which PyTorch runs on CPU in float32, always computes all gradients, also of
the first state and of the input: its backward is exactly two forwards. Of packed sequences of
different lengths the reverse direction runs first those of the last step, and PyTorch then
computes the gradient of the first states of all others.

Element-wise, one operation each, σ taking three (an exponential, a sum, a division) and tanh and
relu one, per row and element of the hidden state:

            bias    sums W_i x + W_h h    functions    rest                      all    without bias
    RNN     2       1                     1                                      4      2
    LSTM    8       4                     11           3 products, 1 sum         27     19
    GRU     6       3                     7            3 products, 1 sum, 1 −    21     15

Dropout between layers is 3 operations per element, as in :mod:`lightning_profile.theory.dropout`.
Element-wise operations of the backward are left open, for they depend on what was kept; so is what
is allocated.

Traffic is compulsory: what goes in and comes out of the layer, once. Gates and the states between
steps and layers count as kept on chip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from lightning_profile.records import Call, Cost, ParameterFact, Phase, PhaseCosts, TensorFact
from lightning_profile.theory.cost import operand_bytes, phase_cost
from lightning_profile.theory.expression import Expression, symbol, total
from lightning_profile.theory.recurrent_geometry import (
    Recurrence,
    cell_recurrence,
    network_recurrences,
)
from lightning_profile.theory.registry import phase_costs


@dataclass(frozen=True, slots=True)
class _Equations:
    """What a step computes.

    Attributes:
        gates: Products with the input, and as many with the state.
        operations: Element-wise per element of the hidden state, biases apart.
    """

    gates: int
    operations: int


_RNN = _Equations(gates=1, operations=2)
_LSTM = _Equations(gates=4, operations=19)
_GRU = _Equations(gates=3, operations=15)
_DROPOUT_OPERATIONS = 3  # <, /, ·


@phase_costs.register(nn.RNN)
def _rnn_costs(module: nn.RNN, call: Call) -> PhaseCosts | None:
    return _network_costs(module, call, _RNN)


@phase_costs.register(nn.LSTM)
def _lstm_costs(module: nn.LSTM, call: Call) -> PhaseCosts | None:
    return _network_costs(module, call, _LSTM)


@phase_costs.register(nn.GRU)
def _gru_costs(module: nn.GRU, call: Call) -> PhaseCosts | None:
    return _network_costs(module, call, _GRU)


@phase_costs.register(nn.RNNCell)
def _rnn_cell_costs(module: nn.RNNCell, call: Call) -> PhaseCosts | None:
    return _cell_costs(module, call, _RNN)


@phase_costs.register(nn.LSTMCell)
def _lstm_cell_costs(module: nn.LSTMCell, call: Call) -> PhaseCosts | None:
    return _cell_costs(module, call, _LSTM)


@phase_costs.register(nn.GRUCell)
def _gru_cell_costs(module: nn.GRUCell, call: Call) -> PhaseCosts | None:
    return _cell_costs(module, call, _GRU)


def _network_costs(module: nn.RNNBase, call: Call, equations: _Equations) -> PhaseCosts | None:
    recurrences = network_recurrences(module, call, equations.gates)
    if recurrences is None:
        return None
    directions = 2 if module.bidirectional else 1
    between = recurrences[directions:] if call.is_training and module.dropout else []
    # Each upper layer's input is dropped once, for both of its directions.
    dropped = [
        _DROPOUT_OPERATIONS * (each.rows * each.input_width) for each in between[::directions]
    ]
    return _costs(call, recurrences, equations, has_bias=call.has("bias_ih_l0"), dropped=dropped)


def _cell_costs(module: nn.RNNCellBase, call: Call, equations: _Equations) -> PhaseCosts | None:
    recurrence = cell_recurrence(module, call, equations.gates)
    if recurrence is None:
        return None
    return _costs(call, [recurrence], equations, has_bias=call.has("bias_ih"), dropped=[])


def _costs(
    call: Call,
    recurrences: Sequence[Recurrence],
    equations: _Equations,
    *,
    has_bias: bool,
    dropped: list[Expression],
) -> PhaseCosts:
    biases = 2 * equations.gates if has_bias else 0
    operations = symbol("operations", equations.operations + biases)
    inputs = operand_bytes(call, _numbers(call.inputs), "")
    parameters = operand_bytes(call, call.parameters, "")
    outputs = operand_bytes(call, _numbers(call.outputs), "output")
    costs = {
        Phase.FORWARD: phase_cost(
            flop=total([2 * each.forward for each in recurrences]),
            elementwise=total(
                [*(each.rows * each.hidden * operations for each in recurrences), *dropped]
            ),
            elementwise_name="gates, states, biases, dropout",
            read=total([inputs, parameters]),
            write=outputs,
            allocated=None,
        )
    }
    if not call.output_requires_grad:
        return costs
    wanted = [each for each in call.inputs if each.requires_grad]
    grad_input = phase_cost(
        flop=total([2 * each.grad_input for each in recurrences if each.grad_input.value]),
        read=total([outputs, inputs, parameters]),
        write=operand_bytes(call, wanted, ""),
        allocated=None,
    )
    costs[Phase.GRAD_INPUT] = replace(grad_input, elementwise_flop=None)
    trained = [each for each in call.parameters if each.requires_grad]
    if trained:
        costs[Phase.GRAD_WEIGHT] = _grad_weight(
            call, recurrences, trained, read=total([outputs, inputs])
        )
    return costs


def _grad_weight(
    call: Call,
    recurrences: Sequence[Recurrence],
    trained: Sequence[ParameterFact],
    *,
    read: Expression,
) -> Cost:
    biases = [
        each.rows * each.gate_outputs
        for each in recurrences
        for name in ("bias_ih", "bias_hh")
        if name in each.trained
    ]
    return phase_cost(
        flop=total([2 * each.grad_weight for each in recurrences if each.grad_weight.value]),
        elementwise=total(biases),
        elementwise_name="bias gradient additions",
        read=read,
        write=operand_bytes(call, trained, ""),
        allocated=None,
    )


def _numbers(tensors: Sequence[TensorFact]) -> list[TensorFact]:
    """All but the indices of a PackedSequence."""
    return [each for each in tensors if each.dtype.is_floating_point]
