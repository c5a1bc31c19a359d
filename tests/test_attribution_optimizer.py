"""The optimizer's row holds what a bare step of the optimizer runs, whatever is around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn, optim
from torch.profiler import ProfilerActivity, profile

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.attribution import attribute
from lightning_profile.comparison.notes import (
    HIDDEN_OPTIMIZER,
    MAY_CLIP,
    NO_OPTIMIZER,
    SOME_STEPS,
)
from tests.conftest import SmallCnn, ValidatedCnn, read_all_rows, read_json, train
from tests.recording import measure
from tests.test_attribution import CALL, block, op

Optimizer = Callable[[Any], optim.Optimizer]
OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": lambda used: optim.SGD(used, lr=0.1, momentum=0.9),
    "Adam": lambda used: optim.Adam(used, foreach=False),
    "AdamW foreach": lambda used: optim.AdamW(used, foreach=True),
    "AdamW fused": lambda used: optim.AdamW(used, fused=True),
    "RMSprop": lambda used: optim.RMSprop(used, foreach=False),
}


class Plain(optim.Optimizer):
    """Updates with gradients enabled, through ``data``."""

    def __init__(self, used: Any) -> None:
        super().__init__(used, {})

    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure is not None else None
        for parameter in self.param_groups[0]["params"]:
            parameter.data.add_(parameter.grad.data, alpha=-0.1)
        return loss


def model_with(optimizer: Optimizer, **methods: Any) -> type[SmallCnn]:
    def configure_optimizers(self: SmallCnn) -> optim.Optimizer:
        return optimizer([p for name, p in self.named_parameters() if "unused" not in name])

    return type("Model", (SmallCnn,), {"configure_optimizers": configure_optimizers, **methods})


def bare_step(optimizer: Optimizer, device: str = "cpu") -> Counter[str]:
    """Operators of a step that has nothing around it."""
    model = SmallCnn().to(device)
    used = [p for name, p in model.named_parameters() if "unused" not in name]
    made = optimizer(used)
    for parameter in used:
        parameter.grad = torch.ones_like(parameter)
    made.step()  # makes the state
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        made.step()
    # Not `recorded.events()`, which leaves out an operator directly inside of one of its name.
    names = Counter(event.name() for event in recorded.profiler.kineto_results.events())
    return Counter({name: count for name, count in names.items() if name.startswith("aten::")})


def rows_of(folder: Path, model: Any, **options: Any) -> dict[str, dict[str, Any]]:
    """The JSON's rows of the recorded step that are no layer's, and their notes."""
    train(folder, LayerProfiler("all", Schedule(wait=2)), model=model, **options)
    notes = {row["layer"]: row["note"] for row in read_all_rows(folder)}
    (window,) = read_json(folder)["windows"]
    return {
        name: row | {"note": notes[name]}
        for row in window["steps"]
        if row["layer"] is None
        for name in ["optimizer" if row["is_optimizer"] else "rest-of-step"]
    }


def operators(row: dict[str, Any]) -> Counter[str]:
    counts = Counter({use["name"]: use["count"] for use in row["operators"]})
    return Counter({name: count for name, count in counts.items() if name.startswith("aten::")})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizers_row_holds_what_a_bare_step_runs(tmp_path: Path, name: str) -> None:
    rows = rows_of(tmp_path, model_with(OPTIMIZERS[name]))
    assert operators(rows["optimizer"]) == bare_step(OPTIMIZERS[name])
    assert rows["optimizer"]["note"] == rows["rest-of-step"]["note"] == ""
    rest = operators(rows["rest-of-step"])
    assert rest["aten::cross_entropy_loss"] == rest["aten::nll_loss_backward"] == 1


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *((name, precision) for name in OPTIMIZERS for precision in ("32-true", "bf16-mixed")),
        ("Adam", "16-mixed"),  # a scaler calls the optimizer, after the closure
    ],
)
def test_a_backward_on_another_thread_is_told_from_the_optimizer(
    tmp_path: Path, name: str, precision: Any
) -> None:
    model = model_with(OPTIMIZERS[name])
    rows = rows_of(tmp_path, model, accelerator="gpu", devices=1, precision=precision)
    assert operators(rows["optimizer"]) == bare_step(OPTIMIZERS[name], "cuda")
    assert rows["optimizer"]["kernels"] > 0


def test_work_beside_a_backward_on_another_thread_is_the_closures() -> None:
    engine = "autograd::engine::evaluate_function: AddmmBackward0"
    ops = [
        op(0, None, end_ns=1000),
        op(1, 0, end_ns=900, name="Optimizer.step#SGD.step"),
        op(2, 1, end_ns=100, call=0),
        op(15, 1, sequence_number=7),
        op(17, 1, name="closure's"),
        op(60, 1, name="optimizer's", allocations=(block(601, 7, 100),)),
        op(20, None, start_ns=200, end_ns=500, name=engine, thread=2),
    ]
    ops[1] = replace(ops[1], allocations=(block(110, 8, 5), block(111, 8, -5), block(700, 7, -100)))
    rows = {row.is_optimizer: row for row in attribute(ops, [CALL], memory_device="cpu")}
    optimizer = rows[True]
    assert [use.name for use in optimizer.operators] == ["optimizer's"]
    assert (optimizer.allocated_bytes, optimizer.workspace_bytes) == (0, 100)


def test_clipping_is_in_the_optimizers_row_and_is_said_to_be(tmp_path: Path) -> None:
    adam = OPTIMIZERS["AdamW fused"]
    row = rows_of(tmp_path, model_with(adam), gradient_clip_val=0.5)["optimizer"]
    clipping = operators(row) - bare_step(adam)
    assert clipping["aten::_foreach_norm"] == clipping["aten::clamp"] == 1
    assert row["note"].startswith(MAY_CLIP.partition("{")[0])


def test_several_evaluations_in_a_step_hide_the_optimizer(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, model_with(lambda used: optim.LBFGS(used, max_iter=2)))
    assert set(rows) == {"rest-of-step"}
    assert rows["rest-of-step"]["note"] == HIDDEN_OPTIMIZER
    assert operators(rows["rest-of-step"])["aten::dot"] > 1


def test_an_update_with_gradients_enabled_hides_in_the_rest(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, model_with(Plain))
    assert set(rows) == {"rest-of-step"}
    assert rows["rest-of-step"]["note"] == HIDDEN_OPTIMIZER


def test_a_penalty_on_gradients_hides_nothing(tmp_path: Path) -> None:
    def training_step(self: SmallCnn, batch: Any, batch_idx: int) -> Tensor:
        images = batch[0].requires_grad_()
        loss = F.cross_entropy(self(images), batch[1])
        (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
        return loss + gradient.square().sum()

    adam = OPTIMIZERS["Adam"]
    rows = rows_of(tmp_path, model_with(adam, training_step=training_step))
    assert operators(rows["optimizer"]) == bare_step(adam)


def test_a_batch_that_only_accumulates_has_no_optimizer(tmp_path: Path) -> None:
    schedule = Schedule(wait=2, active=2)
    train(tmp_path, LayerProfiler("all", schedule), accumulate_grad_batches=2)
    (window,) = read_json(tmp_path)["windows"]
    assert window["compared_steps"] == [2, 3]
    assert [row["step"] for row in window["steps"] if row["is_optimizer"]] == [3]
    (optimizer,) = [row for row in read_all_rows(tmp_path) if row["layer"] == "optimizer"]
    assert (optimizer["steps"], optimizer["phase"]) == ("1", "")
    assert optimizer["note"] == SOME_STEPS.format(1, 2)


def test_a_window_without_the_optimizers_step_says_so(tmp_path: Path) -> None:
    profiler = LayerProfiler("all", Schedule(wait=2), stages=["train", "validate"])
    train(tmp_path, profiler, model=ValidatedCnn, accumulate_grad_batches=2)
    rows = read_all_rows(tmp_path)
    assert "optimizer" not in {row["layer"] for row in rows}
    notes = {row["stage"]: row["note"] for row in rows if row["layer"] == "rest-of-step"}
    assert notes == {"train": NO_OPTIMIZER, "validate": ""}


def test_several_optimizers_without_closures_share_a_row() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    optimizers = [optim.SGD(model[0].parameters()), optim.Adam(model[1].parameters())]

    def step() -> None:
        model(torch.ones(4, 3)).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    row = measure(model, None, step)["optimizer", None]
    counts = {use.name: use.count for use in row.operators}
    assert counts["aten::addcdiv_"] == 2  # Adam's only
    assert counts["aten::add_"] > 2
    assert row.cpu_time_ns == row.own.cpu_time_ns > 0


def test_rows_with_the_optimizers_add_up_to_the_step(tmp_path: Path) -> None:
    train(tmp_path, LayerProfiler("all", Schedule(wait=2, active=2)))
    (window,) = read_json(tmp_path)["windows"]
    for step in window["compared_steps"]:
        rows = [row for row in window["steps"] if row["step"] == step]
        # The mark of the step is in the rest, with all Python between the operators.
        counts = Counter({use["name"]: use["count"] for row in rows for use in row["operators"]})
        assert counts[f"lightning_profile.step {step}"] == 1
        kept = sum(row["allocated_bytes"] for row in rows if row["is_optimizer"])
        assert kept == 0  # its temporaries are freed between its operators
        assert sum(row["workspace_bytes"] for row in rows if row["is_optimizer"]) > 0
