from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_profile.records import Cost, Phase
from lightning_profile.theory import cost_call
from tests.theory.calls import call_layer
from tests.theory.steps import assert_allocated, assert_derivations, assert_kept

INDICES = torch.tensor([[1, 4, 2, 2, 7, 0, 1], [3, 3, 3, 9, 8, 0, 1], [5, 6, 7, 8, 9, 10, 11]])
N, BAGS, D, ROWS = 21, 3, 5, 20
LAYERS = [
    nn.Embedding(ROWS, D),
    nn.Embedding(ROWS, D, padding_idx=0),
    nn.Embedding(ROWS, D, scale_grad_by_freq=True),
    nn.Embedding(ROWS, D, sparse=True),
    nn.EmbeddingBag(ROWS, D, mode="sum"),
    nn.EmbeddingBag(ROWS, D, mode="mean"),
    nn.EmbeddingBag(ROWS, D, mode="max"),
]


def costs(module: nn.Module, *inputs: torch.Tensor) -> dict[Phase, Cost]:
    real = call_layer(module, *inputs)
    result = cost_call(real.layer, real.call)
    assert result.costs is not None, result.reason
    return dict(result.costs)


def test_embedding_to_the_digit() -> None:
    found = costs(nn.Embedding(ROWS, D), INDICES)
    assert set(found) == {Phase.FORWARD, Phase.GRAD_WEIGHT}
    forward, grad_weight = found[Phase.FORWARD], found[Phase.GRAD_WEIGHT]
    assert (forward.elementwise_flop, grad_weight.elementwise_flop) == (0, N * D)
    assert (forward.read_bytes, forward.write_bytes) == (None, 4 * N * D)
    assert grad_weight.read_bytes == 4 * N * D + 8 * N
    assert grad_weight.write_bytes == grad_weight.allocated_bytes == 4 * ROWS * D
    by_frequency = costs(nn.Embedding(ROWS, D, scale_grad_by_freq=True), INDICES)
    assert by_frequency[Phase.GRAD_WEIGHT].elementwise_flop == N * D + N + N * D
    sparse = costs(nn.Embedding(ROWS, D, sparse=True), INDICES)[Phase.GRAD_WEIGHT]
    assert (sparse.elementwise_flop, sparse.write_bytes, sparse.allocated_bytes) == (0, None, None)


@pytest.mark.parametrize(
    ("mode", "forward", "backward"),
    [
        ("sum", N * D, N * D),
        ("mean", N * D + BAGS * D, N * D + BAGS * D),
        ("max", N * D, BAGS * D),
    ],
)
def test_embedding_bag_to_the_digit(mode: str, forward: int, backward: int) -> None:
    module = nn.EmbeddingBag(ROWS, D, mode=mode)
    found = costs(module, INDICES)
    assert found[Phase.FORWARD].elementwise_flop == forward
    assert found[Phase.FORWARD].write_bytes == 4 * BAGS * D
    assert found[Phase.GRAD_WEIGHT].elementwise_flop == backward
    by_offsets = costs(module, INDICES.flatten(), torch.tensor([0, 7, 14]))
    assert [cost.elementwise_flop for cost in by_offsets.values()] == [forward, backward]


@pytest.mark.parametrize("module", LAYERS, ids=str)
def test_derivations_batches_and_phases(module: nn.Module) -> None:
    assert_derivations(module, INDICES)
    once, twice = costs(module, INDICES), costs(module, INDICES.repeat(2, 1))
    for phase, cost in once.items():
        assert twice[phase].elementwise_flop == 2 * cost.elementwise_flop
    module.requires_grad_(requires_grad=False)
    assert set(costs(module, INDICES)) == {Phase.FORWARD}
    module.requires_grad_(requires_grad=True)


@pytest.mark.parametrize("module", LAYERS, ids=str)
def test_allocated_equals_the_allocator(module: nn.Module) -> None:
    unknown = {"backward"} if module.sparse else set()
    if isinstance(module, nn.EmbeddingBag):
        unknown = {"forward"}
    assert_allocated(module, INDICES, unknown=unknown)
    if isinstance(module, nn.Embedding):
        assert_kept(module, INDICES)


def test_what_changes_the_weight_or_weights_the_rows_is_left_out() -> None:
    limited = call_layer(nn.Embedding(ROWS, D, max_norm=1.0), INDICES)
    assert cost_call(limited.layer, limited.call).costs is None
    bag = nn.EmbeddingBag(ROWS, D, mode="sum")
    weighted = call_layer(bag, INDICES, per_sample_weights=torch.ones(3, 7))
    assert cost_call(weighted.layer, weighted.call).costs is None
