from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_profile.records import Phase
from tests.theory.calls import costed, costs_of
from tests.theory.steps import allocated_in_step, assert_allocated, assert_derivations

IMAGES = (2, 8, 6, 4)
ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)
# Operations of the forward, counted by hand.
SAMPLES = [
    (nn.Dropout(), IMAGES, 3 * 384),
    (nn.Dropout1d(), (2, 8, 12), 2 * 16 + 192),
    (nn.Dropout1d(), (8, 12), 2 * 8 + 96),  # without a batch
    (nn.Dropout2d(), IMAGES, 2 * 16 + 384),
    (nn.Dropout3d(), (2, 8, 3, 2, 2), 2 * 16 + 192),
    (nn.Dropout3d(), (8, 3, 2, 2), 2 * 8 + 96),
    (nn.AlphaDropout(), IMAGES, (5 + 2) * 384),
    (nn.FeatureAlphaDropout(), IMAGES, 5 * 16 + 2 * 384),
]


@pytest.mark.parametrize(("module", "shape", "forward"), SAMPLES, ids=str)
def test_operations_and_traffic(module: nn.Module, shape: tuple[int, ...], forward: int) -> None:
    costs, elements = costs_of(module, shape), torch.Size(shape).numel()
    assert costs[Phase.FORWARD].elementwise_flop == forward
    assert costs[Phase.GRAD_INPUT].elementwise_flop == elements
    for cost in costs.values():
        assert (cost.read_bytes, cost.write_bytes) == (4 * elements, 4 * elements)
    assert set(costs_of(module, shape, needs_gradient=False)) == {Phase.FORWARD}
    assert_derivations(module, torch.rand(shape))


@pytest.mark.parametrize("module", [nn.Dropout(), nn.Dropout2d(), nn.FeatureAlphaDropout()])
def test_linear_in_the_batch(module: nn.Module) -> None:
    once, twice = costs_of(module, IMAGES), costs_of(module, (4, *IMAGES[1:]))
    assert twice[Phase.FORWARD].elementwise_flop == 2 * once[Phase.FORWARD].elementwise_flop


@pytest.mark.parametrize("module", [*(type(m)() for m, _, _ in SAMPLES), nn.Dropout(0.0)], ids=str)
def test_nothing_in_eval_mode_or_without_a_probability(module: nn.Module) -> None:
    if module.p:
        module.eval()
    shapes = {nn.Dropout1d: (2, 8, 12), nn.Dropout3d: (2, 8, 3, 2, 2)}
    shape = shapes.get(type(module), IMAGES)
    costs = costs_of(module, shape)
    assert set(costs) == {Phase.FORWARD, Phase.GRAD_INPUT}
    for cost in costs.values():
        assert (cost.elementwise_flop, cost.read_bytes, cost.write_bytes) == (0, 0, 0)
    assert_allocated(module, torch.rand(shape))


@pytest.mark.parametrize(("module", "shape", "forward"), SAMPLES, ids=str)
def test_allocated_equals_the_allocator(
    module: nn.Module, shape: tuple[int, ...], forward: int
) -> None:
    assert_allocated(module, torch.rand(shape), unknown={"forward"})


@pytest.mark.parametrize(
    "kind", [nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout]
)
def test_in_place_allocates_nothing_where_it_is_in_place(kind: type[nn.Module]) -> None:
    module = kind(inplace=True)
    found = allocated_in_step(module, torch.rand(IMAGES), needs_gradient=False, no_grad=True)
    assert found["forward"].theory == found["forward"].measured
    is_ignored = isinstance(module, ALPHA)
    assert found["forward"].theory == (4 * 384 if is_ignored else 0)


def test_without_anything_that_is_left_there_is_no_scale() -> None:
    assert costed(nn.Dropout(1.0), IMAGES).costs is None
