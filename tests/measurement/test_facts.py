from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_profile.measurement.facts import Arguments, output_facts, parameter_facts


class Layer(nn.Module):
    def forward(
        self, x: Tensor, others: list[Tensor] | None = None, *, scale: float = 2.0, mode: str = "a"
    ) -> Tensor:
        return x * scale


def test_tensors_have_the_names_of_their_arguments_and_plain_values_are_options() -> None:
    x, y = torch.ones(2, 3, requires_grad=True), torch.ones(4, dtype=torch.int64)
    tensors, options = Arguments(Layer()).facts((x,), {"others": [y, y], "mode": "b"})
    assert [(each.name, each.shape, each.requires_grad) for each in tensors] == [
        ("x", (2, 3), True),
        ("others", (4,), False),
        ("others", (4,), False),
    ]
    assert options == (("scale", 2.0), ("mode", "b"))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_does_not_show_its_sizes_is_left_out() -> None:
    seen = []

    def look(x: Tensor) -> Tensor:
        seen.append((Arguments(Layer()).facts((x,), {})[0], output_facts(x)))
        return x

    torch.vmap(look)(torch.ones(2, 3))
    for layout in (torch.strided, torch.jagged):
        look(torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], layout=layout))
    assert seen == [((), ())] * 3
    torch.func.grad(lambda x: look(x).sum())(torch.ones(2, 3))
    (inputs, outputs) = seen[-1]
    assert [each.shape for each in (*inputs, *outputs)] == [(2, 3), (2, 3)]


def test_without_gradients_no_tensor_needs_one() -> None:
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        (fact,), _ = Arguments(Layer()).facts((x,), {})
    assert not fact.requires_grad


def test_a_call_that_does_not_fit_the_signature_is_left_to_the_forward() -> None:
    x = torch.ones(2)
    tensors, options = Arguments(Layer()).facts((x, None, 3), {"unknown": x})
    assert [each.name for each in tensors] == ["", ""]
    assert options == ()


def test_parameters_have_roles_without_being_computed() -> None:
    layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    facts = parameter_facts(layer)
    assert [(each.name, each.role) for each in facts] == [
        ("bias", "bias"),
        ("parametrizations.weight.original0", "weight"),
        ("parametrizations.weight.original1", "weight"),
    ]
    attention = parameter_facts(nn.MultiheadAttention(4, 2))
    assert "out_proj.weight" in [each.role for each in attention]
