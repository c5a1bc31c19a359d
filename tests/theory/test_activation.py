from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_profile.records import Phase
from tests.theory.calls import costed, costs_of
from tests.theory.steps import assert_allocated, assert_derivations, assert_kept

# Operations per element of the output, forward and backward, counted by hand.
COUNTS = [
    (nn.ReLU(), 1, 1),
    (nn.ReLU6(), 2, 2),
    (nn.LeakyReLU(), 2, 2),
    (nn.PReLU(), 2, 2),
    (nn.ELU(), 4, 3),
    (nn.SELU(), 5, 3),
    (nn.CELU(), 5, 4),
    (nn.GELU(), 5, 11),
    (nn.GELU("tanh"), 9, 18),
    (nn.SiLU(), 4, 8),
    (nn.Mish(), 5, 13),
    (nn.Sigmoid(), 3, 3),
    (nn.Tanh(), 1, 3),
    (nn.Hardtanh(), 2, 2),
    (nn.Hardswish(), 5, 5),
    (nn.Hardsigmoid(), 4, 3),
    (nn.Softplus(), 6, 6),
    (nn.Softsign(), 3, 4),
    (nn.LogSigmoid(), 4, 3),
    (nn.GLU(1), 4, 7),
    (nn.Threshold(0.1, 2.0), 1, 1),
    (nn.Tanhshrink(), 2, 3),
    (nn.Softshrink(), 3, 2),
    (nn.Hardshrink(), 2, 2),
    (nn.Softmax(1), 5, 4),
    (nn.Softmin(1), 5, 4),
    (nn.Softmax2d(), 5, 4),
]
IN_PLACE = [
    *(nn.ReLU(inplace=True), nn.LeakyReLU(inplace=True), nn.ELU(inplace=True)),
    *(nn.SELU(inplace=True), nn.CELU(inplace=True), nn.ReLU6(inplace=True)),
    *(nn.SiLU(inplace=True), nn.Mish(inplace=True), nn.Hardtanh(inplace=True)),
    *(nn.Hardswish(inplace=True), nn.Hardsigmoid(inplace=True)),
    nn.Threshold(0.1, 2.0, inplace=True),
]
SEVERAL_OPERATORS = (nn.Softsign, nn.LogSigmoid, nn.Tanhshrink)
EVERY = [*(module for module, _, _ in COUNTS), nn.LogSoftmax(1), nn.PReLU(8), *IN_PLACE]
SHAPE = (2, 8, 6, 4)


@pytest.mark.parametrize(("module", "forward", "backward"), COUNTS, ids=str)
def test_operations_to_the_digit(module: nn.Module, forward: int, backward: int) -> None:
    outputs = 2 * 8 * 6 * 4 // (2 if isinstance(module, nn.GLU) else 1)
    parameters = sum(4 * each.numel() for each in module.parameters())
    costs = costs_of(module, SHAPE)
    assert costs[Phase.FORWARD].elementwise_flop == forward * outputs
    assert costs[Phase.GRAD_INPUT].elementwise_flop == backward * outputs
    assert costs[Phase.FORWARD].read_bytes == 4 * 384 + parameters
    assert costs[Phase.FORWARD].write_bytes == 4 * outputs
    assert costs[Phase.GRAD_INPUT].read_bytes == 4 * (outputs + 384) + parameters
    assert costs[Phase.GRAD_INPUT].write_bytes == 4 * 384


def test_a_log_softmax_takes_a_logarithm_per_row() -> None:
    costs = costs_of(nn.LogSoftmax(1), (3, 5, 7))
    assert costs[Phase.FORWARD].elementwise_flop == 5 * 105 + 3 * 7
    assert costs[Phase.GRAD_INPUT].elementwise_flop == 4 * 105


def test_the_slope_of_a_prelu_is_trained() -> None:
    grad_weight = costs_of(nn.PReLU(8), SHAPE)[Phase.GRAD_WEIGHT]
    assert (grad_weight.elementwise_flop, grad_weight.write_bytes) == (3 * 384, 4 * 8)
    assert grad_weight.read_bytes == 0  # one operator: the gradient of the input has read it all
    frozen = nn.PReLU().requires_grad_(requires_grad=False)
    assert set(costs_of(frozen, SHAPE)) == {Phase.FORWARD, Phase.GRAD_INPUT}
    alone = costs_of(nn.PReLU(), SHAPE, needs_gradient=False)
    assert set(alone) == {Phase.FORWARD, Phase.GRAD_WEIGHT}
    assert alone[Phase.GRAD_WEIGHT].read_bytes == 4 * 2 * 384


@pytest.mark.parametrize("module", EVERY, ids=str)
def test_derivations_batches_and_phases(module: nn.Module) -> None:
    assert_derivations(module, torch.rand(SHAPE) - 0.5)
    frozen = module.requires_grad_(requires_grad=False)
    assert set(costs_of(frozen, SHAPE, needs_gradient=False)) == {Phase.FORWARD}
    once, twice = (costs_of(frozen, (n, 8, 6, 4), needs_gradient=False) for n in (2, 4))
    assert twice[Phase.FORWARD].elementwise_flop == 2 * once[Phase.FORWARD].elementwise_flop
    module.requires_grad_(requires_grad=True)


@pytest.mark.parametrize("module", EVERY, ids=str)
def test_allocated_equals_the_allocator(module: nn.Module) -> None:
    unknown = {"forward", "backward"} if isinstance(module, SEVERAL_OPERATORS) else set()
    assert_allocated(module, torch.rand(SHAPE) - 0.5, unknown=unknown)


@pytest.mark.parametrize("module", EVERY, ids=str)
def test_kept_equals_what_autograd_saves(module: nn.Module) -> None:
    if not isinstance(module, SEVERAL_OPERATORS):
        assert_kept(module, torch.rand(SHAPE) - 0.5)


def test_a_frozen_prelu_allocates_the_gradient_of_its_input() -> None:
    frozen = nn.PReLU().requires_grad_(requires_grad=False)
    assert_allocated(frozen, torch.rand(SHAPE) - 0.5)


def test_a_row_that_is_not_named_is_unknown() -> None:
    with pytest.warns(UserWarning, match="Implicit dimension"):
        assert costed(nn.LogSoftmax(), (3, 5)).costs is None
