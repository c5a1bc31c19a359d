"""Theory that is remembered is the theory that would be worked out anew."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lightning_profile.records import Call, CostedCall, PhaseCosts
from lightning_profile.theory import KnownTheory, cost_call, phase_costs, product_costs
from tests.theory.calls import RealCall, call_shape


class Banded(nn.Module):
    """A user's own layer whose setting is no plain value."""

    def __init__(self, *bands: int) -> None:
        super().__init__()
        self.bands = list(bands)

    def forward(self, x: Tensor) -> Tensor:
        return x * sum(self.bands)


@phase_costs.register(Banded)
def _banded_costs(module: Banded, call: Call) -> PhaseCosts:
    return product_costs(call, sum(module.bands))


class Blurred(nn.Module):
    """A user's own layer whose kernel is a buffer."""

    kernel: Tensor

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.ones(taps))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.kernel.sum()


@phase_costs.register(Blurred)
def _blurred_costs(module: Blurred, call: Call) -> PhaseCosts:
    return product_costs(call, module.kernel.numel())


def call(module: nn.Module) -> RealCall:
    return call_shape(module, (1, 2, 8, 8))


def cost_again(known: KnownTheory, real: RealCall) -> CostedCall | None:
    (costed,) = known.cost_calls([real.layer], [real.call])
    return costed


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(5, 1, 2)),
        (nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1, bias=False)),
        (nn.Hardtanh(), nn.Identity()),
        (Banded(1, 2), Banded(3, 4)),
        (Blurred(3), Blurred(5)),
    ],
    ids=repr,
)
def test_layers_share_theory_only_if_they_are_alike(first: nn.Module, second: nn.Module) -> None:
    real = {
        name: call(module)
        for name, module in {
            "first": first,
            "alike": copy.deepcopy(first),
            "second": second,
        }.items()
    }
    layers = [replace(each.layer, qualified_name=name) for name, each in real.items()]
    calls = [replace(each.call, layer=name) for name, each in real.items()]
    known = KnownTheory()
    for _ in range(2):  # the second time from memory
        costed = known.cost_calls(layers, calls)
        assert costed == [cost_call(*pair) for pair in zip(layers, calls, strict=True)]


def test_a_setting_that_changes_between_windows_is_noticed() -> None:
    pool, banded, known = nn.MaxPool2d(3, 1, 1), Banded(1, 2), KnownTheory()
    for module in (pool, banded):
        cost_again(known, call(module))
    pool.kernel_size, pool.padding = 5, 2
    banded.bands[0] = 7
    for module in (pool, banded):
        real = call(module)
        assert cost_again(known, real) == cost_call(real.layer, real.call)


def test_ever_new_shapes_do_not_fill_the_memory() -> None:
    known, real = KnownTheory(), call(nn.ReLU())
    for size in range(1, 3000):
        (source,) = real.call.inputs
        fact = replace(source, shape=(size,))
        new = replace(real.call, inputs=(fact,), outputs=(fact,))
        known.cost_calls([real.layer], [new])
    assert len(known._costs) < 1100
