"""Which of autograd's nodes belong to a forward."""

from __future__ import annotations

import torch

from lightning_profile.measurement.graph import next_node_number, nodes_made


def names(output: object, first_node: int, inputs: object = None) -> list[str]:
    return [type(node).__name__ for node in nodes_made(output, first_node, inputs)]


def test_they_are_those_of_its_own_operators() -> None:
    before = torch.ones(2, requires_grad=True).exp()
    first_node = next_node_number()
    assert names((before.sin().cos(), None), first_node) == ["CosBackward0", "SinBackward0"]


def test_what_a_forward_takes_from_elsewhere_is_older() -> None:
    given = torch.ones(2, requires_grad=True).exp()
    elsewhere = torch.ones(2, requires_grad=True).tanh()
    first_node = next_node_number()
    assert names(given * elsewhere, first_node, given) == ["MulBackward0"]


def test_what_a_forward_is_given_is_not_its_own_whatever_its_number() -> None:
    given = torch.ones(2, requires_grad=True).exp()
    assert names([given.sin()], 0, {"x": given}) == ["SinBackward0"]


def test_each_is_there_once() -> None:
    given = torch.ones(2, requires_grad=True).exp()
    first_node = next_node_number()
    twice = given.sin()
    assert sorted(names((twice + twice, twice), first_node)) == ["AddBackward0", "SinBackward0"]


def test_without_gradients_there_are_none() -> None:
    assert names(torch.ones(2).sin(), 0) == []
