from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_profile.records import Phase
from tests.theory.calls import costed, costs_of
from tests.theory.steps import assert_allocated, assert_derivations, assert_kept

SHAPES = {1: (2, 8, 12), 2: (2, 8, 6, 4), 3: (2, 8, 3, 4, 4)}
IMAGES, ELEMENTS = SHAPES[2], 384
VIEWS = [nn.Identity(), nn.Flatten(), nn.Unflatten(1, (2, 4))]
REARRANGEMENTS = [nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(2)]


def pads(*kinds: str) -> list[tuple[nn.Module, tuple[int, ...]]]:
    found: list[tuple[nn.Module, tuple[int, ...]]] = []
    for dimensions, shape in SHAPES.items():
        for kind in kinds:
            made: Any = getattr(nn, f"{kind}Pad{dimensions}d")
            padding = (1, 2, 0, 1, 1, 2)[: 2 * dimensions]
            found.append((made(padding, 2.0) if kind == "Constant" else made(padding), shape))
    return found


INNER = pads("Zero", "Constant")
SOURCED = pads("Reflection", "Replication", "Circular")


@pytest.mark.parametrize("module", VIEWS, ids=str)
def test_views_cost_nothing(module: nn.Module) -> None:
    costs = costs_of(module, IMAGES)
    assert set(costs) == {Phase.FORWARD, Phase.GRAD_INPUT}
    for cost in costs.values():
        assert (cost.elementwise_flop, cost.read_bytes, cost.write_bytes) == (0, 0, 0)
    if isinstance(module, nn.Identity):
        assert_allocated(module, torch.rand(IMAGES))
    else:  # a copy if the layout asks for one
        assert {cost.allocated_bytes for cost in costs.values()} == {None}
    assert_kept(module, torch.rand(IMAGES))


@pytest.mark.parametrize("module", REARRANGEMENTS, ids=str)
def test_rearrangements_move_every_element(module: nn.Module) -> None:
    for cost in costs_of(module, IMAGES).values():
        assert cost.elementwise_flop == 0
        assert cost.read_bytes == cost.write_bytes == 4 * ELEMENTS
    assert_derivations(module, torch.rand(IMAGES))
    assert_allocated(module, torch.rand(IMAGES))
    assert_kept(module, torch.rand(IMAGES))


def test_nothing_is_certain_of_a_shuffle_that_moves_nothing() -> None:
    for cost in costs_of(nn.PixelShuffle(1), IMAGES).values():
        assert cost.allocated_bytes is None


@pytest.mark.parametrize(("module", "shape"), [*INNER, *SOURCED], ids=str)
def test_pads(module: nn.Module, shape: tuple[int, ...]) -> None:
    source = torch.rand(shape)
    output, is_sourced = module(source), (module, shape) in SOURCED
    costs = costs_of(module, shape)
    forward, grad_input = costs[Phase.FORWARD], costs[Phase.GRAD_INPUT]
    assert forward.elementwise_flop == 0
    assert (forward.read_bytes, forward.write_bytes) == (source.nbytes, output.nbytes)
    assert grad_input.elementwise_flop == (output.numel() if is_sourced else 0)
    assert grad_input.read_bytes == (output.nbytes if is_sourced else source.nbytes)
    assert grad_input.write_bytes == source.nbytes
    assert set(costs_of(module, shape, needs_gradient=False)) == {Phase.FORWARD}
    assert_derivations(module, source)
    is_circular = "Circular" in type(module).__name__
    assert_allocated(module, source, unknown={"backward"} if is_circular else set())
    assert_kept(module, source)


def test_a_negative_padding_is_unknown() -> None:
    assert costed(nn.ZeroPad2d((-1, 0, 0, 0)), IMAGES).costs is None
    assert costed(nn.CircularPad1d((-1, 1)), SHAPES[1]).costs is None


def test_fold_adds_and_unfold_copies() -> None:
    blocks, images = (2, 16, 15), (2, 4, 6, 4)
    fold = costs_of(nn.Fold((6, 4), 2), blocks)
    unfold = costs_of(nn.Unfold(2), images)
    assert [cost.elementwise_flop for cost in fold.values()] == [480, 0]
    assert [cost.elementwise_flop for cost in unfold.values()] == [0, 480]
    for cost in (fold[Phase.FORWARD], unfold[Phase.GRAD_INPUT]):
        assert (cost.read_bytes, cost.write_bytes, cost.allocated_bytes) == (4 * 480, 4 * 192, None)
    assert_derivations(nn.Fold((6, 4), 2), torch.rand(blocks))
    assert_derivations(nn.Unfold(2), torch.rand(images))
    assert_kept(nn.Fold((6, 4), 2), torch.rand(blocks))
    assert_kept(nn.Unfold(2), torch.rand(images))
