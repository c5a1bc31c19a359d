"""RNN, LSTM, GRU and their cells on paper."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from lightning_profile.records import Phase
from tests.theory.arithmetic import evaluate
from tests.theory.products import costs_of_call, flop_of

STEPS, BATCH, INPUT, HIDDEN = 5, 3, 4, 6
GATES = {nn.RNN: 1, nn.LSTM: 4, nn.GRU: 3}


def source(*, needs_gradient: bool = False) -> Tensor:
    return torch.rand(STEPS, BATCH, INPUT, requires_grad=needs_gradient)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_every_number_of_a_layer_by_hand(kind: type[nn.RNNBase]) -> None:
    costs = costs_of_call(kind(INPUT, HIDDEN), source(needs_gradient=True))
    gates = GATES[kind]
    by_input, by_state = 15 * gates * 6 * 4, 15 * gates * 6 * 6
    assert flop_of(costs) == {
        "forward": 2 * (by_input + by_state),
        "grad_input": 2 * (by_input + 12 * gates * 6 * 6),  # not for the first step of each
        "grad_weight": 2 * (by_input + by_state),
    }
    forward, grad_input, grad_weight = costs.values()
    parameters = 4 * gates * 6 * (4 + 6 + 2)
    last_states = 2 if kind is nn.LSTM else 1
    results = 4 * (15 * 6 + last_states * 3 * 6)
    assert forward.read_bytes == 4 * 15 * 4 + parameters
    assert forward.write_bytes == results
    assert grad_input.read_bytes == results + 4 * 15 * 4 + parameters
    assert (grad_input.write_bytes, grad_input.elementwise_flop) == (4 * 15 * 4, None)
    assert grad_weight.read_bytes == results + 4 * 15 * 4
    assert grad_weight.write_bytes == parameters
    assert grad_weight.elementwise_flop == 2 * 15 * gates * 6
    assert {cost.allocated_bytes for cost in costs.values()} == {None}


class Counted:
    """A number that counts the operations it takes part in."""

    operations = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def _with(self, other: Counted | float, function: Callable[[float, float], float]) -> Counted:
        Counted.operations += 1
        return Counted(function(self.value, other.value if isinstance(other, Counted) else other))

    def __add__(self, other: Counted) -> Counted:
        return self._with(other, lambda a, b: a + b)

    def __mul__(self, other: Counted) -> Counted:
        return self._with(other, lambda a, b: a * b)

    def __rsub__(self, other: float) -> Counted:
        return self._with(other, lambda a, b: b - a)

    def tanh(self) -> Counted:
        return self._with(0.0, lambda a, _: math.tanh(a))

    def sigmoid(self) -> Counted:
        exponential = self._with(0.0, lambda a, _: math.exp(-a))
        return (exponential + Counted(1.0))._with(1.0, lambda a, one: one / a)


def _cell_by_the_documentation(
    kind: type[nn.Module], x: list[Counted], h: list[Counted], state: list[Counted]
) -> list[Counted]:
    """The new state of one element, from the gates' products with input and state."""
    if kind is nn.RNNCell:
        return [(x[0] + h[0]).tanh()]
    if kind is nn.GRUCell:
        reset, update = (x[0] + h[0]).sigmoid(), (x[1] + h[1]).sigmoid()
        new = (x[2] + reset * h[2]).tanh()
        return [(1 - update) * new + update * state[0]]
    gates = [a + b for a, b in zip(x, h, strict=True)]
    kept, let_in, let_out = gates[1].sigmoid(), gates[0].sigmoid(), gates[3].sigmoid()
    cell = kept * state[1] + let_in * gates[2].tanh()
    return [let_out * cell.tanh(), cell]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_elementwise_operations_are_those_of_the_documentation(
    kind: type[nn.RNNCellBase], bias: bool
) -> None:
    module = kind(INPUT, 1, bias=bias).requires_grad_(requires_grad=False)
    states = [torch.rand(1, 1) for _ in range(2 if kind is nn.LSTMCell else 1)]
    inputs = torch.rand(1, INPUT)
    hx = tuple(states) if kind is nn.LSTMCell else states[0]
    x = [Counted(float(each)) for each in (inputs @ module.weight_ih.T)[0]]
    h = [Counted(float(each)) for each in (states[0] @ module.weight_hh.T)[0]]
    Counted.operations = 0
    if bias:
        x = [a + Counted(float(b)) for a, b in zip(x, module.bias_ih, strict=True)]
        h = [a + Counted(float(b)) for a, b in zip(h, module.bias_hh, strict=True)]
    result = _cell_by_the_documentation(kind, x, h, [Counted(float(each)) for each in states])
    expected = module(inputs, hx)
    assert result[0].value == pytest.approx(
        float(expected[0] if kind is nn.LSTMCell else expected), rel=1e-5
    )
    assert costs_of_call(module, inputs, hx)[Phase.FORWARD].elementwise_flop == Counted.operations


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_linear_in_the_batch_and_without_a_batch_one(kind: type[nn.RNNBase]) -> None:
    module = kind(INPUT, HIDDEN, num_layers=2, bidirectional=True)
    many = flop_of(costs_of_call(module, torch.rand(STEPS, BATCH, INPUT)))
    single = flop_of(costs_of_call(module, torch.rand(STEPS, 1, INPUT)))
    assert many == {phase: BATCH * flop for phase, flop in single.items()}
    assert flop_of(costs_of_call(module, torch.rand(STEPS, INPUT))) == single
    first = kind(INPUT, HIDDEN, num_layers=2, bidirectional=True, batch_first=True)
    assert flop_of(costs_of_call(first, torch.rand(BATCH, STEPS, INPUT))) == many
    assert flop_of(costs_of_call(first, torch.rand(STEPS, INPUT))) == single


def test_a_frozen_lower_layer_needs_no_gradient() -> None:
    module = nn.GRU(INPUT, HIDDEN, num_layers=2)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.endswith("l1"))
    by_state, later = 15 * 3 * 6 * 6, 12 * 3 * 6 * 6
    costs = costs_of_call(module, source())
    assert (costs[Phase.GRAD_INPUT].flop, costs[Phase.GRAD_WEIGHT].flop) == (
        2 * later,
        2 * (by_state + by_state),
    )
    assert costs[Phase.GRAD_WEIGHT].write_bytes == 4 * 3 * 6 * (6 + 6 + 2)
    assert set(costs_of_call(module.requires_grad_(requires_grad=False), source())) == {
        Phase.FORWARD
    }


def test_dropout_between_layers_is_three_operations_per_element() -> None:
    module = nn.GRU(INPUT, HIDDEN, num_layers=3, bidirectional=True, dropout=0.5)
    training = costs_of_call(module, source())[Phase.FORWARD].elementwise_flop or 0
    evaluation = costs_of_call(module.eval(), source())[Phase.FORWARD].elementwise_flop or 0
    assert training - evaluation == 3 * 2 * STEPS * BATCH * 2 * HIDDEN


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([nn.RNN, nn.LSTM, nn.GRU]), st.integers(1, 3), st.booleans(), st.booleans())
def test_each_derivation_gives_the_number_it_stands_beside(
    kind: type[nn.RNNBase], num_layers: int, bidirectional: bool, packed: bool
) -> None:
    module = kind(INPUT, HIDDEN, num_layers, bidirectional=bidirectional)
    inputs = pack_sequence([torch.rand(3, INPUT), torch.rand(2, INPUT)]) if packed else source()
    for cost in costs_of_call(module, inputs).values():
        lines = {line.quantity: line for line in cost.derivation}
        assert lines["FLOPs"].value == cost.flop
        assert lines["compulsory reads"].value == cost.read_bytes
        for line in cost.derivation:
            assert evaluate(line.numbers) == line.value
