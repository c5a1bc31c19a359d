"""Operators whose work is taken over: by selective checkpointing, by vmap, by modes of Python's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from lightning_profile.comparison.notes import KEPT
from lightning_profile.measurement.redispatch import runs_as_another
from lightning_profile.records import Comparison
from tests.recording import compare_step

KEPT_OPERATORS = (torch.ops.aten.addmm.default, torch.ops.aten.convolution.default)
BATCH, SAMPLES = 4, 5


def counted(row: Comparison) -> int | None:
    assert row.measured is not None
    return row.measured.counted_flop


class Selective(nn.Module):
    """Keeps the results of one layer, and recomputes the others."""

    def __init__(self, kept: Any) -> None:
        super().__init__()
        self.linear, self.conv = nn.Linear(8, 16), nn.Conv1d(4, 4, 1)
        self._kept = kept

    def forward(self, images: Tensor) -> Tensor:
        contexts = functools.partial(create_selective_checkpoint_contexts, self._policy)
        result: Tensor = checkpoint(
            self._inner, images, use_reentrant=False, context_fn=contexts, early_stop=False
        )
        return result

    def _inner(self, images: Tensor) -> Tensor:
        return self.conv(self.linear(images).tanh().unsqueeze(0)).tanh()

    def _policy(self, context: object, operator: Any, *_: Any, **__: Any) -> CheckpointPolicy:
        is_kept = operator == self._kept
        return CheckpointPolicy.MUST_SAVE if is_kept else CheckpointPolicy.PREFER_RECOMPUTE


@pytest.mark.parametrize(
    ("kept", "kept_layer", "other"),
    [(KEPT_OPERATORS[0], "linear", "conv"), (KEPT_OPERATORS[1], "conv", "linear")],
)
def test_what_selective_checkpointing_kept_is_not_recomputed(
    kept: Any, kept_layer: str, other: str
) -> None:
    model, images = Selective(kept), torch.randn(BATCH, 8, requires_grad=True)
    rows = compare_step(model, None, lambda: model(images).sum())
    again, not_again = rows[other, "recompute"], rows[kept_layer, "recompute"]
    assert (not_again.cost, counted(not_again)) == (None, 0)
    assert not_again.note == KEPT
    assert again.cost is not None
    assert again.cost.flop == counted(again) > 0
    for name in (kept_layer, other):
        for phase in ("forward", "backward"):
            row = rows[name, phase]
            assert row.cost is not None
            assert row.cost.flop == counted(row) > 0


class Watching(TorchDispatchMode):
    """Changes nothing."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        return func(*args, **(kwargs or {}))


def test_an_operator_that_a_mode_looks_at_is_counted_once() -> None:
    model, images = nn.Sequential(nn.Linear(8, 16)), torch.randn(BATCH, 8)

    def step() -> None:
        with Watching():
            model(images).sum().backward()

    rows = compare_step(model, None, step)
    for phase in ("forward", "backward"):
        row = rows["0", phase]
        assert row.cost is not None
        assert row.cost.flop == counted(row) == 2 * BATCH * 8 * 16


LINEAR, CONVOLUTION = 2 * 8 * 16, 2 * 4 * 16 * 6


def _mapped(model: nn.Module) -> Tensor:
    return torch.func.vmap(model)(torch.randn(SAMPLES, BATCH, 8)).sum()


def _mapped_convolution(model: nn.Module) -> Tensor:
    return torch.func.vmap(model)(torch.randn(SAMPLES, 4, 8)).sum()


def _per_sample_gradients(model: nn.Module) -> None:
    """As differential privacy has them."""
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (sample,)).sum()

    torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, torch.randn(SAMPLES, 8))


def _ensemble(model: nn.Module) -> Tensor:
    """As many models at once as there are samples."""
    stacked = {
        name: torch.stack([each.detach()] * SAMPLES).requires_grad_()
        for name, each in model.named_parameters()
    }

    def one(parameters: dict[str, Tensor], samples: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(model, parameters, (samples,))
        return result

    return torch.func.vmap(one)(stacked, torch.randn(SAMPLES, BATCH, 8)).sum()


@pytest.mark.parametrize(
    ("layer", "step", "forward_flop", "backward_flop"),
    [
        (nn.Linear(8, 16), _mapped, SAMPLES * BATCH * LINEAR, SAMPLES * BATCH * LINEAR),
        (nn.Linear(8, 16), _per_sample_gradients, SAMPLES * LINEAR, SAMPLES * LINEAR),
        (nn.Linear(8, 16), _ensemble, SAMPLES * BATCH * LINEAR, SAMPLES * BATCH * LINEAR),
        (
            nn.Conv1d(4, 16, 3),
            _mapped_convolution,
            SAMPLES * 3 * CONVOLUTION,
            SAMPLES * 3 * CONVOLUTION,
        ),
    ],
)
def test_all_samples_of_vmap_are_counted(
    layer: nn.Module, step: Callable[[nn.Module], Any], forward_flop: int, backward_flop: int
) -> None:
    model = nn.Sequential(layer)
    rows = compare_step(model, None, lambda: step(model))
    assert counted(rows["0", "forward"]) == forward_flop
    assert counted(rows["0", "backward"]) == backward_flop
    for phase in ("forward", "backward"):
        row = rows["0", phase]
        assert row.cost is None
        assert row.note == (
            f"no theory for this call of {type(layer).__name__}: its tensors don't show their "
            "sizes, as nested ones and those inside of torch.func.vmap"
        )


@pytest.mark.parametrize(
    ("name", "inside", "is_another"),
    [
        ("aten::addmm", ["aten::expand", "aten::copy_"], False),
        ("aten::addmm", ["aten::detach", "PythonDispatchMode"], True),
        ("aten::convolution", ["PythonSubclass"], True),
        ("aten::mm", ["aten::matmul"], True),
        ("aten::baddbmm", ["aten::bmm"], True),
        ("aten::mv", ["aten::addmv_"], False),
        ("aten::convolution", ["aten::reshape", "aten::convolution"], True),
        ("aten::convolution", ["aten::_convolution"], False),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", ["aten::matmul"], False),
        ("aten::mm", [], False),
    ],
)
def test_what_is_inside_tells(name: str, inside: list[str], is_another: bool) -> None:
    assert runs_as_another(name, inside) is is_another
