"""FLOPs of products on paper, and beside those counted in a real step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_profile.records import PhaseCosts
from lightning_profile.theory import cost_call
from tests.recording import compare_step
from tests.theory.calls import call_layer

TheoryAndCount = dict[str, tuple[int, int]]


def costs_of_call(module: nn.Module, *args: Any, **options: Any) -> PhaseCosts:
    """Costs of a call, which there must be."""
    real = call_layer(module, *args, **options)
    result = cost_call(real.layer, real.call)
    assert result.costs is not None, result.reason
    return result.costs


def flop_of(costs: PhaseCosts) -> dict[str, int]:
    return {phase.value: cost.flop for phase, cost in costs.items()}


def trainable(values: Any) -> list[Tensor]:
    """The tensors that a backward can begin or end with."""
    if isinstance(values, Tensor):
        return [values] if values.requires_grad else []
    return [tensor for each in values if each is not None for tensor in trainable(each)]


def step_of(module: nn.Module, *args: Any, **options: Any) -> TheoryAndCount:
    """FLOPs on paper and counted, of one real step, by phase."""
    model = nn.ModuleDict({"layer": module})

    def step() -> None:
        model.zero_grad()
        results = trainable(module(*args, **options))
        torch.autograd.backward([each.square().sum() for each in results])

    return {
        phase: (row.cost.flop, row.measured.counted_flop)
        for (layer, phase), row in compare_step(model, ["layer"], step).items()
        if layer == "layer" and row.cost is not None and row.measured is not None
        if row.measured.counted_flop is not None
    }


def assert_counted_equals_theory(rows: TheoryAndCount) -> None:
    assert set(rows) == {"forward", "backward"}
    assert {phase: theory for phase, (theory, _) in rows.items()} == {
        phase: counted for phase, (_, counted) in rows.items()
    }
