from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from lightning_profile.records import Phase
from tests.theory.calls import costed, costs_of
from tests.theory.steps import assert_allocated, assert_derivations, assert_kept

SHAPES = {1: (2, 3, 13), 2: (2, 3, 9, 8), 3: (2, 3, 6, 5, 7)}


def pools() -> list[tuple[nn.Module, tuple[int, ...]]]:
    found: list[tuple[nn.Module, tuple[int, ...]]] = []
    for dimensions, shape in SHAPES.items():
        for kind in ("Max", "Avg"):
            plain: Any = getattr(nn, f"{kind}Pool{dimensions}d")
            adaptive: Any = getattr(nn, f"Adaptive{kind}Pool{dimensions}d")
            found += [
                (plain(2), shape),
                (plain(3, stride=2, padding=1), shape),
                (plain(2, stride=3, ceil_mode=True), shape),
                (adaptive(1), shape),
                (adaptive(4), shape),
            ]
        found.append((getattr(nn, f"LPPool{dimensions}d")(2, 2), shape))
        found.append((getattr(nn, f"MaxPool{dimensions}d")(2, return_indices=True), shape))
    return found


POOLS = pools()


def test_max_pool_to_the_digit() -> None:
    costs = costs_of(nn.MaxPool2d(2), (128, 64, 24, 24))
    outputs, inputs = 128 * 64 * 12 * 12, 128 * 64 * 24 * 24
    forward, grad_input = costs[Phase.FORWARD], costs[Phase.GRAD_INPUT]
    assert (forward.elementwise_flop, grad_input.elementwise_flop) == (4 * outputs, outputs)
    assert (forward.read_bytes, forward.write_bytes) == (4 * inputs, (4 + 8) * outputs)
    assert (grad_input.read_bytes, grad_input.write_bytes) == ((4 + 8) * outputs, 4 * inputs)
    evaluated = costs_of(nn.MaxPool2d(2), (128, 64, 24, 24), needs_gradient=False)
    assert set(evaluated) == {Phase.FORWARD}
    assert evaluated[Phase.FORWARD].write_bytes == 4 * outputs


def test_average_and_power_pool_to_the_digit() -> None:
    average = costs_of(nn.AvgPool2d((3, 2), stride=(3, 2)), (2, 3, 9, 8))
    outputs, inputs = 2 * 3 * 3 * 4, 2 * 3 * 9 * 8
    assert [cost.elementwise_flop for cost in average.values()] == [7 * outputs, 7 * outputs]
    assert average[Phase.GRAD_INPUT].read_bytes == 4 * outputs
    power = costs_of(nn.LPPool2d(2, (3, 2), stride=(3, 2)), (2, 3, 9, 8))
    assert [cost.elementwise_flop for cost in power.values()] == [
        inputs + 6 * outputs + outputs,
        2 * outputs + 6 * outputs + 2 * inputs,
    ]
    assert costed(nn.LPPool1d(float("inf"), 2), (2, 3, 8)).costs is None


@pytest.mark.parametrize(("size", "out"), [*itertools.product(range(1, 13), range(1, 13))])
def test_adaptive_windows_equal_a_count_over_their_elements(size: int, out: int) -> None:
    seen = sum(
        len(range(i * size // out, -(-(i + 1) * size // out)))  # floor to ceiling
        for i in range(out)
    )
    maximum = costs_of(nn.AdaptiveMaxPool1d(out), (2, 3, size))
    assert maximum[Phase.FORWARD].elementwise_flop == 6 * seen
    average = costs_of(nn.AdaptiveAvgPool2d((out, 2)), (2, 3, size, 5))
    assert average[Phase.FORWARD].elementwise_flop == 6 * (seen * 6 + out * 2)


def test_adaptive_windows_are_those_of_pytorch() -> None:
    # Spread over the input, the gradient of ones times the window's size counts its elements.
    source = torch.zeros(1, 1, 10, dtype=torch.float64, requires_grad=True)
    output = nn.AdaptiveAvgPool1d(4)(source)
    seen = 0
    for position in range(4):
        (gradient,) = torch.autograd.grad(output[0, 0, position], source, retain_graph=True)
        seen += int((gradient != 0).sum())
    assert costs_of(nn.AdaptiveMaxPool1d(4), (1, 1, 10))[Phase.FORWARD].elementwise_flop == seen


@pytest.mark.parametrize(("module", "shape"), POOLS, ids=str)
def test_derivations_and_batches(module: nn.Module, shape: tuple[int, ...]) -> None:
    assert_derivations(module, torch.rand(shape))
    once, twice = costs_of(module, shape), costs_of(module, (4, *shape[1:]))
    for phase, cost in once.items():
        assert twice[phase].elementwise_flop == 2 * cost.elementwise_flop
        assert twice[phase].write_bytes == 2 * cost.write_bytes
    unbatched, single = costs_of(module, shape[1:]), costs_of(module, (1, *shape[1:]))
    assert [cost.elementwise_flop for cost in unbatched.values()] == [
        cost.elementwise_flop for cost in single.values()
    ]


@pytest.mark.parametrize(("module", "shape"), POOLS, ids=str)
def test_allocated_and_kept_equal_the_allocator(module: nn.Module, shape: tuple[int, ...]) -> None:
    is_power = "LPPool" in type(module).__name__
    assert_allocated(module, torch.rand(shape), unknown={"forward"} if is_power else set())
    if not is_power:
        assert_kept(module, torch.rand(shape))
