from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn, optim

from lightning_profile.theory import optimizer_states
from tests.theory.arithmetic import evaluate

CASES = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (optim.Adam, {}),
    (optim.Adam, {"amsgrad": True}),
    (optim.AdamW, {}),
    (optim.Adadelta, {}),
    (optim.Adagrad, {}),
    (optim.RMSprop, {}),
    (optim.RMSprop, {"momentum": 0.9, "centered": True}),
]


def state_in_memory(optimizer: optim.Optimizer) -> int:
    return sum(
        value.nbytes
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_theory_is_what_a_step_leaves_in_memory(
    kind: type[optim.Optimizer], options: dict[str, Any]
) -> None:
    module = nn.Conv2d(3, 4, 3)
    optimizer = kind(module.parameters(), **options)
    module(torch.ones(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    equation = optimizer_states([optimizer], [dict(module.named_parameters())])[0]
    assert equation is not None
    assert equation.value == evaluate(equation.numbers) == state_in_memory(optimizer)


def test_the_derivation_names_the_parameters() -> None:
    module = nn.Linear(3, 4)
    equation = optimizer_states(
        [optim.Adam(module.parameters())], [dict(module.named_parameters())]
    )[0]
    assert equation is not None
    assert equation.symbols == (
        "tensors kept · weight bytes + step counter + tensors kept · bias bytes + step counter"
    )


def test_frozen_and_foreign_parameters_have_no_state() -> None:
    module, other = nn.Linear(3, 4), nn.Linear(5, 5)
    module.bias.requires_grad_(requires_grad=False)
    optimizer = optim.Adam([*module.parameters(), *other.parameters()])
    equation = optimizer_states([optimizer], [dict(module.named_parameters())])[0]
    assert equation is not None
    assert equation.value == 2 * 4 * 12 + 4


def test_an_unknown_optimizer_is_unknown() -> None:
    module = nn.Linear(3, 4)
    optimizer = optim.NAdam(module.parameters())
    assert optimizer_states([optimizer], [dict(module.named_parameters())])[0] is None
    nothing = optimizer_states([optimizer], [{}])[0]
    assert nothing is not None
    assert nothing.value == 0
