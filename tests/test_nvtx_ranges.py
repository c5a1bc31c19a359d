"""NVTX ranges per layer and phase, seen by what is pushed and popped."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.cuda import nvtx
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lightning_profile import LayerProfiler, LayerSelectionError, NvtxRanges, Schedule
from tests.conftest import SmallCnn, read_csv, train
from tests.trainings.untouched import CASES, ON_CPU_ONLY, Case, account_of, as_parameters
from tests.trainings.watchful import FrozenEncoder
from tests.trainings.witness import differences


class Ranges:
    """What was pushed, with what was open around it on the same thread."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []
        self.open: dict[int, list[str]] = {}

    def push(self, name: str) -> None:
        stack = self.open.setdefault(threading.get_ident(), [])
        stack.append(name)
        self.seen.append(tuple(stack))

    def pop(self) -> None:
        self.open[threading.get_ident()].pop()

    @property
    def are_closed(self) -> bool:
        return not any(self.open.values())


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ranges]:
    ranges = Ranges()
    monkeypatch.setattr(nvtx, "mark", lambda _: None)
    monkeypatch.setattr(nvtx, "range_push", ranges.push)
    monkeypatch.setattr(nvtx, "range_pop", ranges.pop)
    yield ranges
    assert ranges.are_closed


class ResidualModel(LightningModule):
    """A block with work of its own, and a part that is recomputed."""

    def __init__(self, *, use_reentrant: bool = False) -> None:
        super().__init__()
        self.block = ResidualBlock()
        self.head = nn.Linear(8, 3)
        self.use_reentrant = use_reentrant

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch[0].flatten(1)[:, :8].requires_grad_()
        x = checkpoint(self.block, x.tanh(), use_reentrant=self.use_reentrant)
        return functional.cross_entropy(self.head(x), batch[1] % 3)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class ResidualBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def steps_of(tmp_path: Path, *callbacks: Callback, **options: Any) -> None:
    train(tmp_path, *callbacks, limit_train_batches=1, limit_val_batches=0, **options)


def test_each_phase_of_a_layer_has_a_range(tmp_path: Path, ranges: Ranges) -> None:
    steps_of(tmp_path, NvtxRanges(["Conv2d-2"]))
    assert ranges.seen == [("Conv2d-2 forward",), ("Conv2d-2 backward",)]


def test_every_step_is_marked(tmp_path: Path, ranges: Ranges) -> None:
    train(tmp_path, NvtxRanges("Conv2d-2"), limit_train_batches=3, max_epochs=2)
    assert ranges.seen.count(("Conv2d-2 backward",)) == 6


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_what_is_recomputed_is_named_so_and_a_container_has_what_is_its_own(
    tmp_path: Path, ranges: Ranges, use_reentrant: bool
) -> None:
    steps_of(
        tmp_path,
        NvtxRanges(["block", "block.inner"]),
        model=lambda: ResidualModel(use_reentrant=use_reentrant),
    )
    block, inner = "ResidualBlock-1", "Linear-1"
    forward = [seen for seen in ranges.seen if "backward" not in seen[-1]]
    assert [seen[-2:] for seen in forward[:2]] == [
        (f"{block} forward",),
        (f"{block} forward", f"{inner} forward"),
    ]
    assert forward[2][-1] == f"{block} recompute"  # perhaps inside of a node's backward
    assert forward[3][-2:] == (f"{block} recompute", f"{inner} recompute")
    backward = [seen for seen in ranges.seen if "backward" in seen[-1]]
    assert backward[0] == (f"{block} backward",)  # the addition
    assert {seen[-1] for seen in backward[1:]} == {f"{inner} backward"}


def test_a_forward_that_raises_closes_its_range(tmp_path: Path, ranges: Ranges) -> None:
    class Failing(SmallCnn):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.conv1(batch[0][:, :, :2])  # smaller than a kernel

    with pytest.raises(RuntimeError, match="size"):
        steps_of(tmp_path, NvtxRanges("Conv2d-1"), model=Failing)
    assert ranges.seen == [("Conv2d-1 forward",)]


def test_a_forward_that_raises_and_is_tried_again_is_not_inside_of_its_first_range(
    tmp_path: Path, ranges: Ranges
) -> None:
    class TryingAgain(SmallCnn):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            with contextlib.suppress(RuntimeError):
                self.conv1(batch[0][:, :, :2])
            return super().training_step(batch, batch_idx)

    steps_of(tmp_path, NvtxRanges("Conv2d-1"), model=TryingAgain)
    assert ranges.seen == [("Conv2d-1 forward",)] * 2 + [("Conv2d-1 backward",)]


def test_a_fault_of_ours_is_said_once_and_the_training_goes_on(
    tmp_path: Path, ranges: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("no such node")

    monkeypatch.setattr("lightning_profile.measurement.nvtx.nodes_made", broken)
    with pytest.warns(UserWarning, match="NVTX ranges are missing: LookupError: no such") as said:
        _, trainer = train(tmp_path, NvtxRanges("Conv2d-2"), max_epochs=2)
    assert len([each for each in said if "NVTX" in str(each.message)]) == 1
    assert trainer.current_epoch == 2
    assert set(ranges.seen) == {("Conv2d-2 forward",)}


ENCODERS = {name: ON_CPU_ONLY[name] for name in ON_CPU_ONLY if "encoder" in name}


@pytest.mark.parametrize("case", as_parameters(CASES | ENCODERS))
def test_the_training_is_the_same_bit_for_bit(tmp_path: Path, ranges: Ranges, case: Case) -> None:
    bare = account_of(tmp_path / "bare", case)
    marked = account_of(tmp_path / "marked", case, NvtxRanges(case.layers))
    assert differences(bare, marked) == []
    assert bare["steps"]
    assert ranges.seen


def test_a_layer_that_is_computed_at_once_has_no_range(tmp_path: Path, ranges: Ranges) -> None:
    train(tmp_path, NvtxRanges("all"), model=FrozenEncoder)
    names = {name for stack in ranges.seen for name in stack}
    assert "TransformerEncoder-1 forward" in names
    assert not [name for name in names if name.startswith("TransformerEncoderLayer")]


def test_copies_and_files_have_no_hooks_of_ours_and_in_the_end_nothing_has(
    tmp_path: Path, ranges: Ranges
) -> None:
    class Look(Callback):
        def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
            images = torch.zeros(1, 4, 8, 8)
            seen = len(ranges.seen)
            copy.deepcopy(module).conv2(images).sum().backward()
            pickle.loads(pickle.dumps(module.conv2))(images).sum().backward()  # noqa: S301
            assert len(ranges.seen) == seen > 0

    model, _ = train(tmp_path, NvtxRanges("all"), Look())
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_the_profile_beside_them_is_the_same(tmp_path: Path, ranges: Ranges) -> None:
    schedule = Schedule(wait=1)
    train(tmp_path / "alone", LayerProfiler("all", schedule))
    train(tmp_path / "both", LayerProfiler("all", schedule), NvtxRanges("all"))
    assert ranges.seen
    counted = [
        [
            (row["layer"], row["phase"], row["counted_flop"], row["allocated_bytes"])
            for row in read_csv(tmp_path / way)
        ]
        for way in ("alone", "both")
    ]
    assert counted[0] == counted[1]


def test_a_torch_without_nvtx_is_said_once_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: str) -> None:
        raise RuntimeError("NVTX functions not installed")

    monkeypatch.setattr(nvtx, "mark", missing)
    with pytest.warns(UserWarning, match="built without CUDA") as warned:
        steps_of(tmp_path, NvtxRanges("Conv2d-2"))
    assert len([each for each in warned if "NVTX" in str(each.message)]) == 1


def test_a_layer_that_does_not_exist_is_an_error_before_the_first_step(
    tmp_path: Path, ranges: Ranges
) -> None:
    with pytest.raises(LayerSelectionError, match="Conv2d-9"):
        steps_of(tmp_path, NvtxRanges("Conv2d-9"))
    assert ranges.seen == []


def test_what_is_no_pattern_is_an_error_at_once() -> None:
    nothing: Any = 3
    with pytest.raises(LayerSelectionError):
        NvtxRanges([nothing])
