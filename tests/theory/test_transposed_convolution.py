from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_profile.records import Phase, PhaseCosts
from lightning_profile.theory import cost_call, footprint
from tests.recording import compare_step
from tests.theory.arithmetic import evaluate
from tests.theory.calls import RealCall, call_layer, costs_of

PRODUCTS = (Phase.FORWARD, Phase.GRAD_INPUT, Phase.GRAD_WEIGHT)


@dataclass(frozen=True)
class Geometry:
    batch: int
    groups: int
    inputs_per_group: int
    outputs_per_group: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]
    by_output_size: bool
    bias: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.batch, self.groups * self.inputs_per_group, *self.size)

    @property
    def least_size(self) -> tuple[int, ...]:
        """The output's sizes without output padding."""
        return tuple(
            (size - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1
            for size, stride, pad, dilation, kernel in zip(
                self.size, self.stride, self.padding, self.dilation, self.kernel, strict=True
            )
        )

    @property
    def output_size(self) -> tuple[int, ...]:
        return tuple(map(sum, zip(self.least_size, self.output_padding, strict=True)))

    def module(self) -> nn.Module:
        kind = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
        return kind[len(self.size)](
            self.groups * self.inputs_per_group,
            self.groups * self.outputs_per_group,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            output_padding=0 if self.by_output_size else self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias,
        )

    def convolution(self) -> nn.Module:
        """The convolution that maps the output back to the input."""
        kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(self.size)]
        return kind(
            self.groups * self.outputs_per_group,
            self.groups * self.inputs_per_group,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            bias=False,
        )

    def call(self, module: nn.Module, source: Tensor) -> RealCall:
        options: dict[str, Any] = {}
        if self.by_output_size:
            options["output_size"] = list(self.output_size)
        return call_layer(module, source, **options)

    def real_call(self) -> RealCall:
        return self.call(self.module(), torch.rand(self.shape, requires_grad=True))

    def costs(self) -> PhaseCosts:
        real = self.real_call()
        result = cost_call(real.layer, real.call)
        assert result.costs is not None, result.reason
        return result.costs


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    axes = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    size, kernel, stride, dilation = each(1, 3), each(1, 3), each(1, 3), each(1, 3)
    unpadded = Geometry(
        batch=draw(st.integers(1, 2)),
        groups=draw(st.integers(1, 3)),
        inputs_per_group=draw(st.integers(1, 2)),
        outputs_per_group=draw(st.integers(1, 2)),
        size=size,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=(0,) * axes,
        output_padding=(0,) * axes,
        by_output_size=draw(st.booleans()),
        bias=draw(st.booleans()),
    )
    # By output_size, up to a stride; by output_padding, up to a stride or a dilation.
    most = [
        (step if unpadded.by_output_size else max(step, dil)) - 1
        for step, dil in zip(stride, dilation, strict=True)
    ]
    return replace(
        unpadded,
        padding=tuple(
            draw(st.integers(0, min(2, (length - 1) // 2))) for length in unpadded.least_size
        ),
        output_padding=tuple(draw(st.integers(0, limit)) for limit in most),
    )


def transpose_by_loops(geometry: Geometry, source: Tensor, weight: Tensor) -> tuple[Tensor, int]:
    """The definition: every input element times the kernel is added to the output.

    Returns:
        The output without its bias, and the FLOPs, one multiply and one add at a time. What falls
        into the padding counts, and is cut off.
    """
    g, flop = geometry, 0
    output = torch.zeros(g.batch, g.groups * g.outputs_per_group, *g.output_size).tolist()
    values, kernel = source.tolist(), weight.tolist()
    taps = list(itertools.product(*map(range, g.kernel)))
    for n, group, i, o in itertools.product(
        *map(range, (g.batch, g.groups, g.inputs_per_group, g.outputs_per_group))
    ):
        channel_in = group * g.inputs_per_group + i
        channel_out = group * g.outputs_per_group + o
        for position in itertools.product(*map(range, g.size)):
            value = _at(values[n][channel_in], position)
            for tap in taps:
                product = value * _at(kernel[channel_in][o], tap)
                flop += 1
                _add_to(output[n][channel_out], _target(g, position, tap), product)
                flop += 1
    return torch.tensor(output), flop


def _target(geometry: Geometry, position: tuple[int, ...], tap: tuple[int, ...]) -> list[int]:
    return [
        at * stride - pad + k * dilation
        for at, stride, pad, k, dilation in zip(
            position, geometry.stride, geometry.padding, tap, geometry.dilation, strict=True
        )
    ]


def _at(nested: Any, index: tuple[int, ...]) -> float:
    for each in index:
        nested = nested[each]
    return nested


def _add_to(nested: Any, index: list[int], value: float) -> None:
    *outer, last = index
    for each in outer:
        if not 0 <= each < len(nested):
            return
        nested = nested[each]
    if 0 <= last < len(nested):
        nested[last] += value


@settings(deadline=None, max_examples=60)
@given(geometries())
def test_every_product_equals_a_count_over_the_loops(geometry: Geometry) -> None:
    module = geometry.module()
    with torch.no_grad():
        module.weight.copy_(torch.randint_like(module.weight, -3, 4))  # exact in any order
    source = torch.randint(-3, 4, geometry.shape).float().requires_grad_()
    real = geometry.call(module, source)
    costs, (output,) = cost_call(real.layer, real.call).costs, real.outputs
    assert costs is not None

    by_loops, flop = transpose_by_loops(geometry, source, module.weight)
    bias = module.bias.reshape(-1, *[1] * len(geometry.size)) if geometry.bias else 0
    assert torch.equal(output, by_loops + bias)
    assert {phase: cost.flop for phase, cost in costs.items()} == dict.fromkeys(PRODUCTS, flop)
    assert costs[Phase.FORWARD].elementwise_flop == geometry.bias * output.numel()
    assert costs[Phase.FORWARD].write_bytes == output.nbytes


@settings(deadline=None, max_examples=60)
@given(geometries())
def test_each_derivation_gives_the_number_it_stands_beside(geometry: Geometry) -> None:
    real = geometry.real_call()
    costs = cost_call(real.layer, real.call).costs or {}
    assert set(costs) == set(PRODUCTS)
    lines = [line for cost in costs.values() for line in cost.derivation]
    sizes = [line.value for line in lines if line.quantity.endswith("_out")]
    assert sizes == list(real.outputs[0].shape[2:]) == list(geometry.output_size)
    for line in [*lines, *footprint(real.layer, real.call)]:
        assert evaluate(line.numbers) == line.value


@settings(deadline=None, max_examples=60)
@given(geometries())
def test_flop_counter_mode_agrees_where_it_is_right(geometry: Geometry) -> None:
    geometry = replace(geometry, groups=1)
    source = torch.empty(geometry.shape, device="meta", requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        real = geometry.call(geometry.module().to("meta"), source)
        forward = counter.get_total_flops()
        real.outputs[0].sum().backward()
    costs = geometry.costs()
    assert forward == costs[Phase.FORWARD].flop
    assert counter.get_total_flops() == sum(cost.flop for cost in costs.values())


@settings(deadline=None, max_examples=60)
@given(geometries())
def test_it_costs_what_the_convolution_of_its_output_to_its_input_costs(
    geometry: Geometry,
) -> None:
    short_of_a_stride = zip(geometry.output_padding, geometry.stride, strict=True)
    geometry = replace(
        geometry, bias=False, output_padding=tuple(min(p, s - 1) for p, s in short_of_a_stride)
    )
    transposed = geometry.costs()
    shape = (geometry.batch, geometry.groups * geometry.outputs_per_group, *geometry.output_size)
    convolution = costs_of(geometry.convolution(), shape)
    for phase, counterpart in [
        (Phase.FORWARD, Phase.GRAD_INPUT),
        (Phase.GRAD_INPUT, Phase.FORWARD),
        (Phase.GRAD_WEIGHT, Phase.GRAD_WEIGHT),
    ]:
        one, other = transposed[phase], convolution[counterpart]
        assert one.flop == other.flop
        assert (one.read_bytes, one.write_bytes) == (other.read_bytes, other.write_bytes)
        assert one.allocated_bytes == other.allocated_bytes


def test_a_decoders_upsampling_to_the_digit() -> None:
    costs = costs_of(nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), (8, 64, 14, 14))
    flop = 2 * (8 * 64 * 14 * 14) * (32 * 4 * 4)
    assert flop == 102_760_448
    assert [costs[phase].flop for phase in PRODUCTS] == [flop] * 3
    forward, grad_weight = costs[Phase.FORWARD], costs[Phase.GRAD_WEIGHT]
    assert forward.elementwise_flop == grad_weight.elementwise_flop == 8 * 32 * 28 * 28
    assert forward.read_bytes == 4 * (8 * 64 * 14 * 14 + 64 * 32 * 16 + 32)
    assert forward.write_bytes == forward.allocated_bytes == 4 * 8 * 32 * 28 * 28
    assert costs[Phase.GRAD_INPUT].write_bytes == 4 * 8 * 64 * 14 * 14
    assert grad_weight.write_bytes == 4 * (64 * 32 * 16 + 32)


def test_an_unbatched_input_is_a_batch_of_one() -> None:
    module = nn.ConvTranspose2d(3, 4, 3, stride=2)
    batched, unbatched = costs_of(module, (1, 3, 8, 8)), costs_of(module, (3, 8, 8))
    assert [cost.flop for cost in batched.values()] == [cost.flop for cost in unbatched.values()]


def test_only_the_gradients_that_are_computed_cost_anything() -> None:
    shape = (2, 3, 8, 8)
    first = costs_of(nn.ConvTranspose2d(3, 4, 3), shape, needs_gradient=False)
    assert set(first) == {Phase.FORWARD, Phase.GRAD_WEIGHT}
    frozen = nn.ConvTranspose2d(3, 4, 3).requires_grad_(requires_grad=False)
    assert set(costs_of(frozen, shape)) == {Phase.FORWARD, Phase.GRAD_INPUT}
    bias_only = nn.ConvTranspose2d(3, 4, 3)
    bias_only.weight.requires_grad_(requires_grad=False)
    grad_weight = costs_of(bias_only, shape)[Phase.GRAD_WEIGHT]
    assert (grad_weight.flop, grad_weight.elementwise_flop) == (0, 2 * 4 * 10 * 10)


class Resized(nn.Module):
    """Asks for an output one larger than it would be."""

    def __init__(self) -> None:
        super().__init__()
        self.transposed = nn.ConvTranspose2d(4, 6, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.transposed(x, output_size=[2 * x.shape[-2] + 2, 2 * x.shape[-1] + 2])


LAYERS = [
    nn.ConvTranspose2d(4, 6, 3),
    nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1),
    nn.ConvTranspose2d(4, 6, (3, 2), stride=2, padding=1, output_padding=1, bias=False),
    nn.ConvTranspose2d(4, 6, 3, dilation=2, padding=2),
    nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2),
    nn.ConvTranspose2d(4, 4, 2, groups=4, stride=2),
    nn.ConvTranspose2d(4, 6, 1),
    nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2),
    nn.ConvTranspose3d(4, 6, 2, stride=2, padding=1),
    nn.ConvTranspose3d(4, 6, 2, stride=(1, 2, 3), output_padding=(0, 1, 2), groups=2),
    Resized(),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("input_needs_gradient", [True, False])
def test_counted_and_allocated_equal_theory_in_a_real_step(
    layer: nn.Module, input_needs_gradient: bool
) -> None:
    model = nn.Sequential(layer)
    sizes = {nn.ConvTranspose1d: (9,), nn.ConvTranspose3d: (5, 6, 7)}
    size = sizes.get(type(layer), (9, 8))
    source = torch.ones(2, 4, *size, requires_grad=input_needs_gradient)
    weights = torch.ones_like(model(source))  # a gradient that is not expanded, as in a network

    def step() -> None:
        source.grad = None
        model.zero_grad()
        (model(source) * weights).sum().backward()

    name = "0.transposed" if isinstance(layer, Resized) else "0"
    rows = compare_step(model, [name], step)
    for phase in ("forward", "backward"):
        row = rows[name, phase]
        assert row.cost is not None
        assert row.measured is not None
        assert row.cost.flop > 0
        assert row.measured.counted_flop == row.cost.flop
        assert row.measured.allocated_bytes == row.cost.allocated_bytes


def test_counted_equals_theory_where_weight_and_input_are_frozen_in_turn() -> None:
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 3), nn.ConvTranspose2d(6, 5, 2, stride=2))
    model[0].requires_grad_(requires_grad=False)
    model[1].weight.requires_grad_(requires_grad=False)
    source = torch.ones(2, 4, 5, 5)
    weights = torch.ones_like(model(source))
    rows = compare_step(model, ["0", "1"], lambda: (model(source) * weights).sum().backward())
    backward = rows["1", "backward"]
    assert backward.measured is not None
    assert backward.cost is not None
    assert backward.measured.counted_flop == backward.cost.flop == 0
    assert rows["0", "backward"].measured is None
