from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_profile.records import Phase
from lightning_profile.theory import cost_call, footprint
from tests.theory.arithmetic import evaluate
from tests.theory.calls import call_shape, costs_of


def test_the_worked_example_to_the_digit() -> None:
    costs = costs_of(nn.Conv2d(32, 64, 3), (128, 32, 26, 26))
    assert {phase.value: cost.flop for phase, cost in costs.items()} == {
        "forward": 2_717_908_992,
        "grad_input": 2_717_908_992,
        "grad_weight": 2_717_908_992,
    }
    forward = costs[Phase.FORWARD]
    assert forward.elementwise_flop == 128 * 64 * 24 * 24
    assert forward.allocated_bytes == forward.write_bytes == 18_874_368
    assert forward.read_bytes == 4 * (128 * 32 * 26 * 26 + 18_496)
    assert costs[Phase.GRAD_INPUT].write_bytes == 4 * 128 * 32 * 26 * 26
    assert costs[Phase.GRAD_WEIGHT].write_bytes == 4 * 18_496


@dataclass(frozen=True)
class Geometry:
    dimensions: int
    batch: int
    groups: int
    inputs_per_group: int
    outputs_per_group: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...] | str
    mode: str
    bias: bool
    size: tuple[int, ...]

    def module(self) -> nn.Module:
        kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[self.dimensions]
        return kind(
            self.groups * self.inputs_per_group,
            self.groups * self.outputs_per_group,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias,
            padding_mode=self.mode,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.batch, self.groups * self.inputs_per_group, *self.size)


@st.composite
def geometries(draw: st.DrawFn, dimensions: st.SearchStrategy[int]) -> Geometry:
    count = draw(dimensions)

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(count))

    kernel, dilation = each(1, 3), each(1, 2)
    padding: tuple[int, ...] | str = draw(st.sampled_from(["same", "valid", "numbers"]))
    stride = each(1, 1) if padding == "same" else each(1, 3)
    if padding == "numbers":
        padding = each(0, 2)
    reach = max(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    return Geometry(
        dimensions=count,
        batch=draw(st.integers(1, 2)),
        groups=draw(st.integers(1, 3)),
        inputs_per_group=draw(st.integers(1, 2)),
        outputs_per_group=draw(st.integers(1, 2)),
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
        bias=draw(st.booleans()),
        size=tuple(draw(st.integers(reach + 3, reach + 6)) for _ in range(count)),
    )


def count_by_loops(geometry: Geometry, output_size: tuple[int, ...]) -> int:
    """FLOPs of the definition of a convolution, one multiply and one add at a time."""
    flop = 0
    for _batch, _group, _output in itertools.product(
        range(geometry.batch), range(geometry.groups), range(geometry.outputs_per_group)
    ):
        for _position in itertools.product(*map(range, output_size)):
            for _tap in itertools.product(
                range(geometry.inputs_per_group), *map(range, geometry.kernel)
            ):
                flop += 1  # multiply
                flop += 1  # add
    return flop


@settings(deadline=None, max_examples=60)
@given(geometries(st.integers(1, 3)))
def test_every_product_equals_a_count_over_the_loops(geometry: Geometry) -> None:
    real = call_shape(geometry.module(), geometry.shape)
    costs, (output,) = cost_call(real.layer, real.call).costs, real.outputs
    assert costs is not None
    expected = count_by_loops(geometry, tuple(output.shape[2:]))
    assert {phase: cost.flop for phase, cost in costs.items()} == dict.fromkeys(
        (Phase.FORWARD, Phase.GRAD_INPUT, Phase.GRAD_WEIGHT), expected
    )
    assert costs[Phase.FORWARD].elementwise_flop == geometry.bias * output.numel()
    assert costs[Phase.FORWARD].write_bytes == output.nbytes


@settings(deadline=None, max_examples=60)
@given(geometries(st.integers(1, 3)))
def test_each_derivation_gives_the_number_it_stands_beside(geometry: Geometry) -> None:
    real = call_shape(geometry.module(), geometry.shape)
    costs, (output,) = cost_call(real.layer, real.call).costs or {}, real.outputs
    lines = [line for cost in costs.values() for line in cost.derivation]
    sizes = [line.value for line in lines if line.quantity.endswith("_out")]
    assert sizes == list(output.shape[2:])
    for line in [*lines, *footprint(real.layer, real.call)]:
        assert evaluate(line.numbers) == line.value


@settings(deadline=None, max_examples=40)
@given(geometries(st.integers(1, 3)))
def test_flop_counter_mode_agrees_where_it_is_right(geometry: Geometry) -> None:
    if geometry.groups != 1:
        geometry = Geometry(**{**geometry.__dict__, "groups": 1})
    module = geometry.module().to("meta")
    source = torch.zeros(geometry.shape, device="meta", requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        module(source).sum().backward()
    costs = costs_of(geometry.module(), geometry.shape)
    assert counter.get_total_flops() == sum(cost.flop for cost in costs.values())


def test_only_the_gradients_that_are_computed_cost_anything() -> None:
    first = costs_of(nn.Conv2d(1, 32, 3), (2, 1, 28, 28), needs_gradient=False)
    assert set(first) == {Phase.FORWARD, Phase.GRAD_WEIGHT}

    frozen = nn.Conv2d(3, 4, 3).requires_grad_(requires_grad=False)
    assert set(costs_of(frozen, (2, 3, 8, 8))) == {Phase.FORWARD, Phase.GRAD_INPUT}
    assert set(costs_of(frozen, (2, 3, 8, 8), needs_gradient=False)) == {Phase.FORWARD}

    bias_only = nn.Conv2d(3, 4, 3)
    bias_only.weight.requires_grad_(requires_grad=False)
    grad_weight = costs_of(bias_only, (2, 3, 8, 8))[Phase.GRAD_WEIGHT]
    assert (grad_weight.flop, grad_weight.elementwise_flop) == (0, 2 * 4 * 6 * 6)
    assert grad_weight.write_bytes == 4 * 4


def test_properties() -> None:
    shape = (4, 6, 9, 9)
    once = costs_of(nn.Conv2d(6, 12, 3), shape)[Phase.FORWARD]
    assert costs_of(nn.Conv2d(6, 12, 3), (8, 6, 9, 9))[Phase.FORWARD].flop == 2 * once.flop
    assert costs_of(nn.Conv2d(6, 12, 3, groups=3), shape)[Phase.FORWARD].flop * 3 == once.flop
    pointwise = costs_of(nn.Conv2d(6, 12, 1), shape)[Phase.FORWARD]
    assert pointwise.flop == 2 * (4 * 9 * 9) * 6 * 12  # a Linear at every position


def test_an_unbatched_input_is_a_batch_of_one() -> None:
    module = nn.Conv2d(3, 4, 3)
    batched, unbatched = costs_of(module, (1, 3, 8, 8)), costs_of(module, (3, 8, 8))
    assert [cost.flop for cost in batched.values()] == [cost.flop for cost in unbatched.values()]


def test_what_it_keeps_in_memory() -> None:
    real = call_shape(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (2, 3, 8, 8))
    assert {line.quantity: line.value for line in footprint(real.layer, real.call)} == {
        "parameter_bytes": 4 * (4 * 3 * 9 + 4),
        "gradient_bytes": 4 * (4 * 3 * 9 + 4),
        "activation_bytes": 4 * 2 * 3 * 10 * 10,  # the padded copy is what is kept
        "output_bytes": real.outputs[0].nbytes,
    }


def test_gradients_of_parameters_are_kept_in_the_parameters_type() -> None:
    module = nn.Conv2d(3, 4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        costs = costs_of(module, (2, 3, 8, 8))
    assert costs[Phase.GRAD_WEIGHT].allocated_bytes == 4 * (4 * 27 + 4)
    assert costs[Phase.GRAD_WEIGHT].write_bytes == 2 * (4 * 27 + 4)
    assert costs[Phase.GRAD_INPUT].allocated_bytes == 2 * 2 * 3 * 8 * 8
