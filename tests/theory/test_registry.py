"""What has a formula, what has none, and why."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_profile.records import Call, Phase, PhaseCosts
from lightning_profile.theory import cost_call, footprint, phase_costs, product_costs
from tests.theory.calls import call_layer, costed, costs_of


class Unheard(nn.Module):
    """A layer that nobody has a formula for."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class MyLinear(nn.Module):
    """A user's own layer, with the user's own formula."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.kernel


@phase_costs.register(MyLinear)
def _my_linear_costs(module: MyLinear, call: Call) -> PhaseCosts:
    return product_costs(call, call.outputs[0].elements * 3)


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@phase_costs.register(Broken)
def _broken(module: Broken, call: Call) -> PhaseCosts:
    raise KeyError("width")


def test_a_layer_without_a_formula_is_unsupported_by_name() -> None:
    result = costed(Unheard(), (2, 3))
    assert (result.costs, result.reason) == (None, "no theory for Unheard")


def test_a_users_formula_takes_three_lines() -> None:
    costs = costs_of(MyLinear(), (2, 3))
    assert {phase.value: cost.flop for phase, cost in costs.items()} == {
        "forward": 2 * 2 * 3 * 4,
        "grad_input": 2 * 2 * 3 * 4,
        "grad_weight": 2 * 2 * 3 * 4,
    }
    assert costs[Phase.FORWARD].read_bytes == 4 * (2 * 3 + 3 * 4)
    assert set(costs_of(MyLinear(), (2, 3), needs_gradient=False)) == {
        Phase.FORWARD,
        Phase.GRAD_WEIGHT,
    }


def test_a_subclass_inherits_unless_it_has_a_forward_of_its_own() -> None:
    class Named(nn.Conv2d):
        name = "stem"

    class Padded(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            return super().forward(nn.functional.pad(input, (0, 1, 0, 1)))

    assert costs_of(Named(3, 4, 3), (2, 3, 8, 8))[Phase.FORWARD].flop == 2 * 2 * 4 * 36 * 27
    assert costed(Padded(3, 4, 3), (2, 3, 8, 8)).reason == (
        "no theory for Padded, whose forward is not Conv2d's"
    )
    patched = nn.Linear(3, 4)
    patched.forward = lambda x: x  # type: ignore[method-assign, assignment]
    assert "whose forward is not Linear's" in costed(patched, (2, 3)).reason


def test_a_formula_that_fails_is_unknown_for_its_layer_only() -> None:
    result = costed(Broken(), (2, 3))
    assert result.costs is None
    assert "the formula for Broken failed: KeyError: 'width'" in result.reason


class Numbers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@phase_costs.register(Numbers)
def _numbers(module: Numbers, call: Call) -> Any:
    return 5


def test_a_formula_that_gives_no_costs_is_unknown() -> None:
    assert "it gave 5, not costs by phase" in costed(Numbers(), (2, 3)).reason


def test_a_convolution_whose_kernel_is_no_parameter_is_unknown_for_itself_only() -> None:
    fixed = nn.Conv2d(1, 1, 3)
    kernel = fixed.weight.detach()
    del fixed.weight
    fixed.register_buffer("weight", kernel)
    real = call_layer(fixed, torch.ones(1, 1, 4, 4))
    assert "the formula for Conv2d failed" in cost_call(real.layer, real.call).reason
    assert "activation_bytes" not in [line.quantity for line in footprint(real.layer, real.call)]


def test_a_call_that_fits_no_formula_is_unknown() -> None:
    def twice(_: nn.Module, __: Any, output: Tensor) -> tuple[Tensor, Tensor]:
        return output, output

    module = nn.Conv2d(1, 1, 1)
    module.register_forward_hook(twice)
    real = call_layer(module, torch.ones(1, 1, 2, 2))
    assert cost_call(real.layer, real.call).reason == "no theory for such a call of Conv2d"
