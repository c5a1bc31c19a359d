from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.utils.flop_counter import FlopCounterMode

from lightning_profile.records import Comparison, Cost, Measurement, Phase, PhaseCosts
from lightning_profile.theory import cost_call, footprint
from tests.recording import compare_step
from tests.theory.arithmetic import evaluate
from tests.theory.calls import call_layer, call_shape, costs_of

PRODUCTS = (Phase.FORWARD, Phase.GRAD_INPUT, Phase.GRAD_WEIGHT)
LEADING_AXES = ((), (2,), (1,), (2, 3), (2, 3, 4))


def flop_of(costs: PhaseCosts) -> dict[Phase, int]:
    return {phase: cost.flop for phase, cost in costs.items()}


def numbers(cost: Cost) -> tuple[Any, ...]:
    return astuple(replace(cost, derivation=()))


def frozen(module: nn.Module, *names: str) -> nn.Module:
    for name in names:
        module.get_parameter(name).requires_grad_(requires_grad=False)
    return module


# Linear


def test_linear_to_the_digit() -> None:
    costs = costs_of(nn.Linear(9216, 128), (128, 9216))
    assert flop_of(costs) == dict.fromkeys(PRODUCTS, 301_989_888)
    forward, grad_input, grad_weight = (costs[phase] for phase in PRODUCTS)
    assert forward.elementwise_flop == grad_weight.elementwise_flop == 128 * 128
    assert grad_input.elementwise_flop == 0
    assert forward.read_bytes == 4 * (128 * 9216 + 9216 * 128 + 128)
    assert forward.write_bytes == forward.allocated_bytes == 4 * 128 * 128
    assert grad_input.read_bytes == 4 * (128 * 128 + 9216 * 128)
    assert grad_input.write_bytes == grad_input.allocated_bytes == 4 * 128 * 9216
    assert grad_weight.read_bytes == 4 * (128 * 128 + 128 * 9216)
    assert grad_weight.write_bytes == grad_weight.allocated_bytes == 4 * (9216 * 128 + 128)


def test_what_linear_keeps_in_memory() -> None:
    real = call_shape(nn.Linear(5, 7), (2, 3, 5))
    assert {line.quantity: line.value for line in footprint(real.layer, real.call)} == {
        "parameter_bytes": 4 * (5 * 7 + 7),
        "gradient_bytes": 4 * (5 * 7 + 7),
        "activation_bytes": 4 * 2 * 3 * 5,
        "output_bytes": 4 * 2 * 3 * 7,
    }
    with_frozen_weight = call_shape(frozen(nn.Linear(5, 7), "weight"), (2, 3, 5))
    kept = {
        line.quantity: line.value
        for line in footprint(with_frozen_weight.layer, with_frozen_weight.call)
    }
    assert (kept["activation_bytes"], kept["gradient_bytes"]) == (0, 4 * 7)


@dataclass(frozen=True)
class LinearCall:
    leading: tuple[int, ...]
    inputs: int
    outputs: int
    bias: bool
    trains_weight: bool
    trains_bias: bool
    input_needs_gradient: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.leading, self.inputs)

    def module(self) -> nn.Module:
        module = nn.Linear(self.inputs, self.outputs, bias=self.bias)
        module.weight.requires_grad_(self.trains_weight)
        if self.bias:
            module.bias.requires_grad_(self.trains_bias)
        return module


linear_calls = st.builds(
    LinearCall,
    leading=st.lists(st.integers(1, 4), max_size=3).map(tuple),
    inputs=st.integers(1, 5),
    outputs=st.integers(1, 5),
    bias=st.booleans(),
    trains_weight=st.booleans(),
    trains_bias=st.booleans(),
    input_needs_gradient=st.booleans(),
)


@settings(deadline=None, max_examples=100)
@given(linear_calls)
def test_each_product_of_linear_equals_a_count_over_the_loops(linear: LinearCall) -> None:
    flop = 0
    for _position in range(math.prod(linear.leading)):
        for _output in range(linear.outputs):
            for _input in range(linear.inputs):
                flop += 1  # multiply
                flop += 1  # add
    expected = {Phase.FORWARD: flop}
    if linear.input_needs_gradient:
        expected[Phase.GRAD_INPUT] = flop
    if linear.trains_weight or (linear.bias and linear.trains_bias):
        expected[Phase.GRAD_WEIGHT] = flop * linear.trains_weight
    costs = costs_of(linear.module(), linear.shape, needs_gradient=linear.input_needs_gradient)
    assert flop_of(costs) == expected


@settings(deadline=None, max_examples=100)
@given(linear_calls)
def test_flop_counter_mode_agrees_with_linear(linear: LinearCall) -> None:
    needs_gradient = linear.input_needs_gradient
    source = torch.empty(linear.shape, device="meta", requires_grad=needs_gradient)
    with FlopCounterMode(display=False) as counter:
        output = linear.module().to("meta")(source)
        forward = counter.get_total_flops()
        if output.requires_grad:
            output.backward(torch.empty_like(output))
    costs = costs_of(linear.module(), linear.shape, needs_gradient=needs_gradient)
    assert forward == costs[Phase.FORWARD].flop
    assert counter.get_total_flops() == sum(flop_of(costs).values())


@settings(deadline=None, max_examples=100)
@given(linear_calls)
def test_each_derivation_of_linear_gives_the_number_it_stands_beside(linear: LinearCall) -> None:
    real = call_shape(linear.module(), linear.shape, needs_gradient=linear.input_needs_gradient)
    costs = cost_call(real.layer, real.call).costs
    assert costs is not None
    lines = [line for cost in costs.values() for line in cost.derivation]
    assert "FLOPs" in {line.quantity for line in lines}
    for line in [*lines, *footprint(real.layer, real.call)]:
        assert evaluate(line.numbers) == line.value


def test_linear_is_linear_in_the_batch() -> None:
    once, twice = (costs_of(nn.Linear(5, 7), (batch, 3, 5)) for batch in (4, 8))
    for phase in PRODUCTS:
        assert twice[phase].flop == 2 * once[phase].flop
        assert twice[phase].elementwise_flop == 2 * once[phase].elementwise_flop
    parameters, weight = 4 * (5 * 7 + 7), 4 * 5 * 7
    for phase, of_any_batch in zip(PRODUCTS, (parameters, weight, 0), strict=True):
        one, other = once[phase], twice[phase]
        assert other.read_bytes - of_any_batch == 2 * (one.read_bytes - of_any_batch)
    assert twice[Phase.GRAD_WEIGHT].write_bytes == once[Phase.GRAD_WEIGHT].write_bytes


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("needs_gradient", [True, False])
def test_a_pointwise_convolution_is_a_linear_at_every_position(
    bias: bool, needs_gradient: bool
) -> None:
    linear = costs_of(nn.Linear(6, 12, bias=bias), (4, 9, 8, 6), needs_gradient=needs_gradient)
    convolution = costs_of(
        nn.Conv2d(6, 12, 1, bias=bias), (4, 6, 9, 8), needs_gradient=needs_gradient
    )
    assert {phase: numbers(cost) for phase, cost in linear.items()} == {
        phase: numbers(cost) for phase, cost in convolution.items()
    }


def test_one_sample_without_a_batch_is_a_batch_of_one() -> None:
    alone, batch = costs_of(nn.Linear(5, 7), (5,)), costs_of(nn.Linear(5, 7), (1, 5))
    assert [numbers(cost) for cost in alone.values()] == [numbers(cost) for cost in batch.values()]


def test_the_linear_of_attention_has_the_theory_of_linear() -> None:
    inherited = costs_of(NonDynamicallyQuantizableLinear(5, 7), (2, 5))
    assert flop_of(inherited) == flop_of(costs_of(nn.Linear(5, 7), (2, 5)))


def test_without_gradients_there_is_only_a_forward() -> None:
    with torch.no_grad():
        assert set(costs_of(nn.Linear(5, 7), (2, 5))) == {Phase.FORWARD}
        assert set(costs_of(nn.Bilinear(3, 4, 5), (2, 3), (2, 4))) == {Phase.FORWARD}


def test_under_autocast_operands_are_small_and_parameters_gradients_are_not() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        costs = costs_of(nn.Linear(5, 7), (2, 5))
    assert flop_of(costs) == dict.fromkeys(PRODUCTS, 2 * 2 * 5 * 7)
    assert costs[Phase.FORWARD].read_bytes == 2 * (2 * 5 + 5 * 7 + 7)
    assert costs[Phase.FORWARD].allocated_bytes == 2 * 2 * 7
    assert costs[Phase.GRAD_INPUT].write_bytes == 2 * 2 * 5
    assert costs[Phase.GRAD_WEIGHT].write_bytes == 2 * (5 * 7 + 7)
    assert costs[Phase.GRAD_WEIGHT].allocated_bytes == 4 * (5 * 7 + 7)


# Bilinear


def test_bilinear_to_the_digit() -> None:
    costs = costs_of(nn.Bilinear(3, 4, 5), (2, 3), (2, 4))
    forward, grad_input, grad_weight = (costs[phase] for phase in PRODUCTS)
    assert forward.flop == 2 * (2 * 5 * 3 * 4) + 2 * (2 * 5 * 4) == 320
    assert grad_input.flop == 2 * 2 * (2 * 5 * 3 * 4) == 480
    assert grad_weight.flop == 2 * (2 * 5 * 3 * 4) == 240
    assert forward.elementwise_flop == 2 * 5
    assert grad_input.elementwise_flop == 2 * 5 * 4 + 2 * 5 * 3
    assert grad_weight.elementwise_flop == 2 * 5 * 3 + 2 * 5
    assert forward.read_bytes == 4 * (2 * 3 + 2 * 4 + 5 * 3 * 4 + 5)
    assert forward.write_bytes == forward.allocated_bytes == 4 * 2 * 5
    assert grad_input.read_bytes == 4 * (2 * 5 + 5 * 3 * 4 + 2 * 3 + 2 * 4)
    assert grad_input.write_bytes == grad_input.allocated_bytes == 4 * (2 * 3 + 2 * 4)
    assert grad_weight.read_bytes == 4 * (2 * 5 + 2 * 3 + 2 * 4)
    assert grad_weight.write_bytes == grad_weight.allocated_bytes == 4 * (5 * 3 * 4 + 5)


def test_one_wanted_gradient_of_bilinear_costs_one_product_and_reads_the_other_input() -> None:
    layer, product = nn.Bilinear(3, 4, 5), 2 * (2 * 5 * 3 * 4)
    for needs_gradient, other_width in (((True, False), 4), ((False, True), 3)):
        grad_input = bilinear_costs(layer, needs_gradient)[Phase.GRAD_INPUT]
        assert grad_input.flop == product
        assert grad_input.elementwise_flop == 2 * 5 * other_width
        assert grad_input.read_bytes == 4 * (2 * 5 + 5 * 3 * 4 + 2 * other_width)
        assert grad_input.write_bytes == 4 * 2 * (7 - other_width)
    assert set(bilinear_costs(layer, (False, False))) == {Phase.FORWARD, Phase.GRAD_WEIGHT}
    bias_only = bilinear_costs(frozen(nn.Bilinear(3, 4, 5), "weight"), (False, False))
    assert bias_only[Phase.GRAD_WEIGHT].flop == 0
    assert bias_only[Phase.GRAD_WEIGHT].elementwise_flop == 2 * 5


def bilinear_costs(module: nn.Module, needs_gradient: tuple[bool, bool]) -> PhaseCosts:
    sources = bilinear_sources((2,), needs_gradient)
    real = call_layer(module, *sources)
    costs = cost_call(real.layer, real.call).costs
    assert costs is not None
    return costs


def bilinear_sources(leading: Sequence[int], needs_gradient: tuple[bool, bool]) -> list[Tensor]:
    return [
        torch.rand(*leading, width, requires_grad=needed)
        for width, needed in zip((3, 4), needs_gradient, strict=True)
    ]


@pytest.mark.parametrize("leading", LEADING_AXES, ids=str)
def test_flop_counter_mode_agrees_with_bilinear_written_as_matrix_products(
    leading: tuple[int, ...],
) -> None:
    n, layer = math.prod(leading), nn.Bilinear(3, 4, 5, bias=False)
    sources = bilinear_sources(leading, (True, True))
    result = layer(*sources)
    gradient = torch.rand_like(result)
    by_autograd = torch.autograd.grad(result, [*sources, layer.weight], gradient)
    costs = costs_of(layer, (*leading, 3), (*leading, 4))

    with torch.no_grad():
        first, second = (each.reshape(n, -1) for each in sources)
        g, weight = gradient.reshape(n, 5, 1), layer.weight.detach()
        with FlopCounterMode(display=False) as forward:
            half = (first @ weight.transpose(0, 1).reshape(3, 5 * 4)).reshape(n, 5, 4)
            output = torch.bmm(half, second[:, :, None])
        scaled_first = (g * first[:, None]).reshape(n, 5 * 3)
        scaled_second = (g * second[:, None]).reshape(n, 5 * 4)
        with FlopCounterMode(display=False) as grad_input:
            grad_first = scaled_second @ weight.transpose(1, 2).reshape(5 * 4, 3)
            grad_second = scaled_first @ weight.reshape(5 * 3, 4)
        with FlopCounterMode(display=False) as grad_weight:
            grad_of_weight = scaled_first.T @ second

    torch.testing.assert_close(output.reshape(result.shape), result)
    by_products = (grad_first, grad_second, grad_of_weight)
    for one, other in zip(by_products, by_autograd, strict=True):
        torch.testing.assert_close(one.reshape(other.shape), other)
    counters = (forward, grad_input, grad_weight)
    assert flop_of(costs) == {
        phase: counter.get_total_flops() for phase, counter in zip(PRODUCTS, counters, strict=True)
    }


@pytest.mark.parametrize("leading", LEADING_AXES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_each_derivation_of_bilinear_gives_the_number_it_stands_beside(
    leading: tuple[int, ...], bias: bool
) -> None:
    real = call_layer(nn.Bilinear(3, 4, 5, bias=bias), *bilinear_sources(leading, (True, True)))
    costs = cost_call(real.layer, real.call).costs
    assert costs is not None
    assert set(costs) == set(PRODUCTS)
    for cost in costs.values():
        for line in cost.derivation:
            assert evaluate(line.numbers) == line.value


# Both in a real step


class Only(nn.Module):
    """A model of one layer with any number of inputs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.layer(*inputs)


@dataclass(frozen=True)
class Training:
    """A layer in training: which parameters are frozen, which inputs need a gradient."""

    kind: type[nn.Module]
    leading: tuple[int, ...]
    bias: bool
    frozen: tuple[str, ...]
    needs_gradient: tuple[bool, ...]
    autocast: bool = False

    def __str__(self) -> str:
        inputs = "".join("ny"[needed] for needed in self.needs_gradient)
        bias = "bias" if self.bias else "no_bias"
        frozen_names = "".join(f"-frozen_{name}" for name in self.frozen)
        return f"{self.kind.__name__}-{self.leading}-{bias}{frozen_names}-input_gradients_{inputs}"

    def compare(self) -> tuple[tuple[Cost, Measurement], ...]:
        """Theory and measurement of the forward and of the backward in a real step."""
        widths = (5, 4)[: len(self.needs_gradient)]
        model = Only(frozen(self.kind(*widths, 7, bias=self.bias), *self.frozen))
        sources = [
            torch.ones(*self.leading, width, requires_grad=needed)
            for width, needed in zip(widths, self.needs_gradient, strict=True)
        ]
        weights = torch.ones(*self.leading, 7)  # a gradient that is not expanded, as in a network

        def step() -> None:
            for source in sources:
                source.grad = None
            model.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
                output = model(*sources)
            (output * weights).sum().backward()

        rows = compare_step(model, ["layer"], step)
        return tuple(_sides(rows["layer", phase]) for phase in ("forward", "backward"))


def _sides(row: Comparison) -> tuple[Cost, Measurement]:
    assert row.cost is not None, row.note
    assert row.measured is not None, row.note
    return row.cost, row.measured


TRAININGS = [
    Training(kind, leading, bias, names, needs_gradient)
    for kind, inputs in ((nn.Linear, 1), (nn.Bilinear, 2))
    for leading in LEADING_AXES
    for bias in (True, False)
    for names in ((), ("weight",), ("bias",))
    for needs_gradient in itertools.product((True, False), repeat=inputs)
    if (bias or "bias" not in names) and (bias or any(needs_gradient) or not names)
]


@pytest.mark.parametrize("training", TRAININGS, ids=str)
def test_counted_equals_theory_in_a_real_step(training: Training) -> None:
    for cost, measured in training.compare():
        assert measured.counted_flop == cost.flop


@pytest.mark.parametrize(
    "training", [each for each in TRAININGS if each.leading in {(2,), (2, 3)}], ids=str
)
def test_allocated_equals_theory_in_a_real_step(training: Training) -> None:
    for cost, measured in training.compare():
        assert measured.allocated_bytes == cost.allocated_bytes


@pytest.mark.parametrize("leading", LEADING_AXES, ids=str)
def test_counted_equals_theory_of_linear_under_autocast(leading: tuple[int, ...]) -> None:
    training = Training(nn.Linear, leading, True, (), (True,), autocast=True)
    for cost, measured in training.compare():
        assert measured.counted_flop == cost.flop > 0
