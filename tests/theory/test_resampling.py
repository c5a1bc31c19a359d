from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_profile.records import Phase
from tests.theory.calls import costed, costs_of
from tests.theory.steps import assert_allocated, assert_derivations, assert_kept

LINES, IMAGES, VOLUMES = (2, 3, 7), (2, 3, 5, 4), (2, 3, 3, 4, 2)
SAMPLES = [
    (nn.Upsample(scale_factor=2), LINES, 0),
    (nn.Upsample(scale_factor=2), IMAGES, 0),
    (nn.Upsample(size=(7, 9), mode="nearest-exact"), IMAGES, 0),
    (nn.UpsamplingNearest2d(scale_factor=2), IMAGES, 0),
    (nn.Upsample(scale_factor=2), VOLUMES, 0),
    (nn.Upsample(scale_factor=2, mode="linear"), LINES, 2),
    (nn.Upsample(scale_factor=1.5, mode="bilinear"), IMAGES, 4),
    (nn.UpsamplingBilinear2d(size=(11, 6)), IMAGES, 4),
    (nn.Upsample(scale_factor=2, mode="bicubic"), IMAGES, 16),
    (nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True), VOLUMES, 8),
]


@pytest.mark.parametrize(("module", "shape", "taps"), SAMPLES, ids=str)
def test_operations_and_traffic(module: nn.Module, shape: tuple[int, ...], taps: int) -> None:
    output = module(torch.rand(shape))
    costs = costs_of(module, shape)
    forward, grad_input = costs[Phase.FORWARD], costs[Phase.GRAD_INPUT]
    assert forward.elementwise_flop == 2 * taps * output.numel()
    assert grad_input.elementwise_flop == (2 * taps or 1) * output.numel()
    assert (forward.write_bytes, grad_input.read_bytes) == (output.nbytes, output.nbytes)
    assert forward.read_bytes == grad_input.write_bytes == torch.rand(shape).nbytes
    assert set(costs_of(module, shape, needs_gradient=False)) == {Phase.FORWARD}
    twice = costs_of(module, (4, *shape[1:]))
    assert twice[Phase.GRAD_INPUT].elementwise_flop == 2 * grad_input.elementwise_flop


@pytest.mark.parametrize(("mode", "taps"), [("bilinear", 4), ("bicubic", 16)])
def test_taps_are_the_inputs_that_an_output_depends_on(mode: str, taps: int) -> None:
    source = torch.rand(1, 1, 9, 9, requires_grad=True)
    nn.Upsample(scale_factor=2, mode=mode)(source)[0, 0, 9, 9].backward()
    assert source.grad is not None
    assert int((source.grad != 0).sum()) == taps


@pytest.mark.parametrize(("module", "shape", "taps"), SAMPLES, ids=str)
def test_derivations_and_memory(module: nn.Module, shape: tuple[int, ...], taps: int) -> None:
    assert_derivations(module, torch.rand(shape))
    assert_allocated(module, torch.rand(shape))
    assert_kept(module, torch.rand(shape))


def test_another_mode_is_unknown() -> None:
    assert costed(nn.Upsample(scale_factor=2, mode="area"), IMAGES).costs is None
