"""Whose the sums of gradients are that autograd's engine makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_profile.attribution import attribute
from lightning_profile.measurement.graph import backward_graph
from lightning_profile.records import BackwardGraph, Measurement, Phase
from tests.recording import measure
from tests.test_attribution import CALL, op

Rows = dict[tuple[str | None, str | None], Measurement]
SUMS = {"aten::add", "aten::add_"}


def sums_in(rows: Rows) -> dict[str | None, int]:
    """How many sums are in each row's backward, if any, those of rows inside included.

    The row of the whole model, which has them all, is left out.
    """
    counts = {
        layer: sum(use.count for use in row.operators if use.name in SUMS)
        for (layer, phase), row in rows.items()
        if phase in ("backward", None) and layer != "(model)"
    }
    return {layer: count for layer, count in counts.items() if count}


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x * self.inner(x)


def linear() -> nn.Linear:
    return nn.Linear(4, 4)


def step(
    model: nn.Module, loss_of: Callable[[Tensor], Tensor] = torch.mean
) -> Callable[[], Tensor]:
    def run() -> Tensor:
        model.zero_grad()  # or the gradients of the step before are added to
        return loss_of(model(torch.ones(3, 4)))

    return run


def test_the_gradient_of_a_residual_blocks_input_is_summed_in_the_blocks_backward() -> None:
    model = nn.Sequential(linear(), Residual(linear()))
    rows = measure(model, "all", step(model))
    assert sums_in(rows) == {"1": 1}


def test_it_is_no_neighbours_when_blocks_follow_each_other() -> None:
    model = nn.Sequential(linear(), *(Residual(linear()) for _ in range(3)))
    assert sums_in(measure(model, "all", step(model))) == {"1": 1, "2": 1, "3": 1}


def test_blocks_inside_of_blocks_have_their_own_and_share_it_with_those_around() -> None:
    model = nn.Sequential(linear(), Residual(nn.Sequential(linear(), Residual(linear()))))
    rows = measure(model, "all", step(model))
    assert sums_in(rows) == {"1": 2, "1.inner": 1, "1.inner.1": 1}


def test_a_layer_alone_does_not_get_the_sum_of_the_block_around() -> None:
    model = nn.Sequential(linear(), Residual(linear()))
    assert sums_in(measure(model, ["Linear"], step(model))) == {None: 1}


def test_a_layer_that_uses_a_tensor_twice_has_the_sum_itself() -> None:
    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            scaled = x * self.weight
            return scaled * scaled

    model = nn.Sequential(linear(), Square())
    assert sums_in(measure(model, "all", step(model))) == {"1": 1}


def test_a_weight_that_layers_share_is_summed_in_the_call_around_them() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = linear(), linear()
            self.decoder.weight = self.encoder.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(self.encoder(x)) * 2

    model = nn.Sequential(Tied())
    assert sums_in(measure(model, "all", step(model))) == {"0": 1}


def test_a_tensor_that_the_loss_uses_too_is_summed_in_the_rest() -> None:
    model = nn.Sequential(linear(), Residual(linear()))
    assert sums_in(
        measure(
            model, "all", step(model, lambda hidden: (hidden.exp() * hidden.sin() * hidden).mean())
        )
    ) == {"1": 1, None: 2}


def test_three_users_are_two_sums() -> None:
    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value = linear(), linear(), linear()

        def forward(self, x: Tensor) -> Tensor:
            return self.query(x) * self.key(x) * self.value(x)

    model = nn.Sequential(linear(), Three())
    assert sums_in(measure(model, "all", step(model))) == {"1": 2}


def test_a_backward_that_was_not_announced_leaves_its_sums_in_the_rest() -> None:
    model = nn.Sequential(linear(), Residual(linear()))
    run = step(model)
    rows = measure(model, "all", lambda: run().backward())
    assert sums_in(rows) == {None: 1}


def test_a_recomputed_block_keeps_the_sum_of_its_input() -> None:
    model = nn.Sequential(linear(), Residual(linear()))

    def run() -> Tensor:
        model.zero_grad()
        hidden = model[0](torch.ones(3, 4))
        return checkpoint(model[1], hidden, use_reentrant=False).sum()

    assert sums_in(measure(model, "all", run)) == {"1": 1}


class NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:  # noqa: ARG004
        return None


def test_a_gradient_that_never_arrives_is_not_added() -> None:
    class Block(Residual):
        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * NoGradient.apply(x) * x  # type: ignore[no-untyped-call]

    model = nn.Sequential(linear(), Block(linear()))
    assert sums_in(measure(model, "all", step(model))) == {"1": 1}


@pytest.mark.parametrize("steps", [1, 3])
def test_what_is_a_blocks_own_is_all_but_what_its_layers_did(steps: int) -> None:
    model = nn.Sequential(linear(), *(Residual(linear()) for _ in range(2)))
    rows = measure(model, "all", step(model), steps)
    assert sums_in(rows) == {"1": 1, "2": 1}
    for name in ("1", "2"):
        block, inner = rows[name, "backward"], rows[f"{name}.inner", "backward"]
        assert block.own.cpu_time_ns == block.cpu_time_ns - inner.cpu_time_ns > 0


def test_a_graph_without_shared_tensors_has_nothing_to_add() -> None:
    x = torch.ones(3, requires_grad=True)
    assert backward_graph(x.exp().sum()).shared == {}
    assert backward_graph(torch.ones(1)).shared == {}


def test_the_graph_is_as_it_was() -> None:
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    loss = (y * y + y).sum()
    (product, plus) = [tensors for _, tensors in sorted(backward_graph(loss).shared.items())]
    assert len(product) == 2
    assert set(product) == set(plus)
    loss.backward()
    assert x.grad is not None
    assert torch.equal(x.grad, ((2 * y + 1) * y).detach())


def test_the_first_node_of_a_thread_which_has_number_0_is_a_node_like_others() -> None:
    engine = {"sequence_number": 0, "forward_thread": 1}
    ops = [
        op(0, None, end_ns=1000),
        op(1, 0, call=0, end_ns=50),
        op(2, 1, sequence_number=0),
        op(30, 0, end_ns=400, **engine),
        op(31, 3, end_ns=340, **engine, is_autograd_node=True),
        op(36, 3, end_ns=380, name="aten::add"),
    ]
    squared = BackwardGraph({0: (7, 7)})  # one tensor, used twice
    rows = attribute(ops, [CALL], memory_device="cpu", graphs=[squared])
    (backward,) = [row for row in rows if row.phase is Phase.BACKWARD]
    assert "aten::add" in backward.direct_operators
