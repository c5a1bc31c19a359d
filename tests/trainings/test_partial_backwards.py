"""Backwards that compute some of the gradients, and some that are differentiated themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lightning_profile.comparison.notes import PARTIAL, REPEATED
from lightning_profile.records import Comparison
from tests.conftest import SmallCnn
from tests.recording import compare_step
from tests.trainings.rows import both, flop, profile

FIRST, LAST = 2 * 4 * 8 * 16, 2 * 4 * 16 * 2  # products of a batch of 4


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 2))


def batch(*, requires_grad: bool = False) -> Tensor:
    return torch.randn(4, 8, requires_grad=requires_grad)


def backwards(model: nn.Module, step: Callable[[], object]) -> dict[str, Comparison]:
    rows = compare_step(model, None, step)
    return {name: row for (name, phase), row in rows.items() if phase == "backward"}


def counted(row: Comparison) -> int | None:
    assert row.measured is not None
    return row.measured.counted_flop


def check_unknown(rows: dict[str, Comparison], note: str) -> None:
    assert rows
    for name, row in rows.items():
        assert row.cost is None, name
        assert note in row.note, name


def check_known(rows: dict[str, Comparison]) -> None:
    assert rows
    for name, row in rows.items():
        assert row.cost is not None, (name, row.note)
        assert row.cost.flop == counted(row)


def test_the_gradient_of_the_input_alone_is_not_all_that_theory_has() -> None:
    model, images = network(), batch(requires_grad=True)
    rows = backwards(model, lambda: torch.autograd.grad(model(images).sum(), images))
    check_unknown(rows, PARTIAL)
    assert {name: counted(row) for name, row in rows.items()} == {"0": FIRST, "1": 0, "3": LAST}


def test_nor_is_a_whole_backward_after_one_in_part() -> None:
    model = network()

    def step() -> Tensor:
        images = batch(requires_grad=True)
        (attack,) = torch.autograd.grad(model(images).sum(), images)
        return model(images.detach() + attack.sign()).sum()

    rows = backwards(model, step)
    check_unknown(rows, PARTIAL)
    # Below the first layer the second pass needs no gradient.
    assert {name: counted(row) for name, row in rows.items()} == {
        "0": 2 * FIRST,
        "1": 0,
        "3": 3 * LAST,
    }


def test_a_backward_that_names_its_inputs_is_one_in_part() -> None:
    model, images = network(), batch(requires_grad=True)
    rows = backwards(model, lambda: model(images).sum().backward(inputs=[images]))
    check_unknown(rows, PARTIAL)


def test_parameters_without_the_leaf_below_them_are_a_part() -> None:
    model, images = network(), batch(requires_grad=True)
    rows = backwards(model, lambda: torch.autograd.grad(model(images).sum(), [*model.parameters()]))
    check_unknown({"0": rows.pop("0")}, PARTIAL)
    check_known(rows)


def test_a_frozen_bias_does_not_hide_what_is_missing() -> None:
    model, images = nn.Sequential(nn.Linear(8, 2)), batch(requires_grad=True)
    model[0].bias.requires_grad_(requires_grad=False)
    rows = backwards(model, lambda: torch.autograd.grad(model(images).sum(), images))
    check_unknown(rows, PARTIAL)


def test_all_gradients_by_name_are_all() -> None:
    model, images = network(), batch()
    check_known(
        backwards(model, lambda: torch.autograd.grad(model(images).sum(), [*model.parameters()]))
    )


def _tied(images: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    return second(first(images)).sum()


@pytest.mark.parametrize("calls", [1, 2])
def test_a_parameter_of_two_layers_gets_its_gradient_once(calls: int) -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    model[1].weight = model[0].weight
    check_known(
        backwards(model, lambda: torch.stack([_tied(batch(), *model) for _ in range(calls)]).sum())
    )


def test_a_layer_called_twice_gets_its_gradients_once() -> None:
    model = network()
    check_known(backwards(model, lambda: (model(batch()) - model(batch())).square().sum()))


def test_what_differentiates_a_backward_is_the_layers() -> None:
    model, images = network(), batch(requires_grad=True)

    def step() -> Tensor:
        (gradient,) = torch.autograd.grad(model(images).sum(), images, create_graph=True)
        return gradient.square().sum()

    rows = compare_step(model, None, step)
    check_unknown(
        {name: row for (name, phase), row in rows.items() if phase == "backward"}, REPEATED
    )
    # The last layer's input gradient, and that product's own backward for the weight alone.
    assert counted(rows["3", "backward"]) == 2 * LAST
    assert counted(rows["", ""]) == 0


class GradientPenalty(SmallCnn):
    """Asks, amid the step, for the gradient of the images."""

    def __init__(self) -> None:
        super().__init__()
        del self.unused

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        images.requires_grad_()
        loss = F.cross_entropy(self(images), labels)
        (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
        return loss + gradient.square().mean()


class Adversarial(GradientPenalty):
    """Learns from images that its own gradient has made harder."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        images.requires_grad_()
        loss = F.cross_entropy(self(images), labels)
        (gradient,) = torch.autograd.grad(loss, images)
        return F.cross_entropy(self(images.detach() + 0.1 * gradient.sign()), labels)


@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(
    ("model", "calls", "note"), [(GradientPenalty, 1, REPEATED), (Adversarial, 2, PARTIAL)]
)
def test_a_training_that_asks_for_gradients_says_so(
    tmp_path: Path, model: type[SmallCnn], calls: int, note: str, accelerator: str
) -> None:
    once = 2 * 8 * 8 * 100 * 4 * 9
    rows = profile(tmp_path, "conv2", model=model, accelerator=accelerator, devices=1)
    assert flop(rows, "conv2")["forward"] == both(calls * once)
    backward = rows["conv2", "backward"]
    assert backward["theoretical_flop"] == ""
    assert note in backward["note"]
    if model is Adversarial:  # the input's gradient, then all
        assert backward["counted_flop"] == str(3 * once)
