"""Batches of every kind: the rows are right, or a warning says what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_profile import LayerProfiler, Schedule
from tests.conftest import read_csv, small_data, train
from tests.trainings.rows import SCHEDULE, both, flop, profile
from tests.trainings.test_passes import CONV2, Model

WHOLE = Schedule(wait=0, warmup=1, active=4)


class Stream(IterableDataset[Any]):
    """Batches as they are, of a number that is not known beforehand."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        yield from self.batches


def stream(batches: Sequence[Any]) -> DataLoader[Any]:
    return DataLoader(Stream(batches), batch_size=None)


def batch(samples: int = 8, side: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(samples)
    return torch.randn(samples, 1, side, side, generator=generator), torch.arange(samples)


def empty() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*batch(0)), batch_size=8)


class Scaled(Model):
    """Without normalisation, which refuses an empty batch, and of any size of image."""

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.conv2(self.conv1(images)))
        return self.fc(F.adaptive_max_pool2d(hidden, 5).flatten(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0]).sum()


def test_a_loss_that_is_not_a_number(tmp_path: Path) -> None:
    class Diverged(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * float("nan")

    rows = profile(tmp_path, "conv2", model=Diverged)
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}
    assert rows["conv2", "backward"]["note"] == ""


@pytest.mark.filterwarnings("ignore:.*training_step. returned .None.")
def test_a_step_without_a_loss_has_no_backward(tmp_path: Path) -> None:
    class Skipping(Model):
        def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            super().training_step(batch, batch_idx)

    rows = profile(tmp_path, "conv2", model=Skipping)
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": ("", "")}
    assert rows["conv2", "backward"]["note"] == "no operator of its backward was recorded"


@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero")
@pytest.mark.filterwarnings("ignore:.*returned 0 length")
@pytest.mark.parametrize(
    "data", [empty(), stream([]), stream([batch()]), stream([None] * 6)], ids=repr
)
@pytest.mark.filterwarnings("ignore:.*train_dataloader yielded None")
def test_a_training_shorter_than_the_wait_says_so(tmp_path: Path, data: Any) -> None:
    schedule = Schedule(wait=1, warmup=0, active=1)
    with pytest.warns(UserWarning, match="ended before a window opened .wait 1, warmup 0"):
        train(tmp_path, LayerProfiler("conv2", schedule), model=Model, data=data)
    assert not list(tmp_path.rglob("layer_profile.csv"))


def test_a_stream_that_ends_in_the_warm_up_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="ended in its warm-up: no layer profile"):
        train(tmp_path, LayerProfiler("conv2", SCHEDULE), model=Model, data=stream([batch()] * 2))
    assert not list(tmp_path.rglob("layer_profile.csv"))


@pytest.mark.parametrize("batches", [3, 4])
def test_a_stream_that_ends_in_the_window_has_the_steps_it_has(
    tmp_path: Path, batches: int
) -> None:
    rows = profile(tmp_path, "conv2", model=Model, data=stream([batch()] * batches))
    assert rows["conv2", "forward"]["steps"] == str(batches - 2)
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}


def test_a_batch_without_samples_costs_nothing_and_is_not_mixed_with_others(
    tmp_path: Path,
) -> None:
    for folder, sizes in (("few", [8, 0, 8, 8, 8]), ("many", [8, 0, 0, 0, 8])):
        data = stream([batch(size) for size in sizes])
        rows = profile(tmp_path / folder, "conv2", model=Scaled, data=data, schedule=WHOLE)
        forward, backward = rows["conv2", "forward"], rows["conv2", "backward"]
        assert forward["batch_size"] == ("8" if folder == "few" else "0")
        assert forward["steps"] == "3"
        once = CONV2 if folder == "few" else 0
        assert flop(rows, "conv2") == {"forward": both(once), "backward": both(2 * once)}
        assert forward["allocated_bytes"] == forward["theoretical_allocated_bytes"]
        assert backward["theoretical_write_bytes"] != "0"  # the weight's gradient: zeros
        assert int(forward["cpu_time_ns"]) > 0


def test_sizes_of_images_are_not_mixed_and_only_where_they_matter(tmp_path: Path) -> None:
    data = stream([batch(), batch(), batch(8, 16), batch(), batch(8, 16)])
    rows = profile(tmp_path, ["conv2", "fc"], model=Scaled, data=data, schedule=WHOLE)
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}
    assert rows["conv2", "forward"]["note"] == "its 4 recorded steps differ in shapes: shown are 2"
    assert rows["fc", "forward"]["note"] == ""
    assert (rows["conv2", "backward"]["steps"], rows["fc", "backward"]["steps"]) == ("2", "4")


class Forgetful:
    """A container whose ``tensors`` can't be read at any time."""

    @property
    def tensors(self) -> list[Tensor]:
        raise RuntimeError("not loaded yet")


def inside_of_itself() -> SimpleNamespace:
    holder = SimpleNamespace(tensors=[])
    holder.tensors.append(holder)
    return holder


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({"images": batch()[0], "labels": batch()[1]}, "8"),
        ({"text": "a word", "parts": [None, {"deep": torch.ones(5, 2)}]}, "5"),
        (SimpleNamespace(images=batch()[0]), ""),  # of a class that no one knows
        (SimpleNamespace(tensors=[torch.ones(4, 1)]), "4"),
        (torch.tensor(3.0), ""),
        ([torch.tensor(3.0), torch.ones(2)], "2"),
        ("a word", ""),
        (7, ""),
        ({}, ""),
        (Forgetful(), ""),
        (inside_of_itself(), ""),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_batch_of_any_kind(tmp_path: Path, given: Any, size: str) -> None:
    class Careless(Model):
        def training_step(self, given: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch(), batch_idx)

    rows = profile(tmp_path, "conv2", model=Careless, data=stream([given] * 5))
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}
    assert rows["conv2", "forward"]["batch_size"] == size


def test_arguments_that_refer_to_one_another(tmp_path: Path) -> None:
    class Walk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Linear(12, 12)

        def forward(self, node: dict[str, Any]) -> Tensor:
            return self.scale(node["images"])

    class Tree(Model):
        def __init__(self) -> None:
            super().__init__()
            self.walk = Walk()

        def forward(self, images: Tensor) -> Tensor:
            node: dict[str, Any] = {"images": images}
            node["child"] = {"parent": node}
            return super().forward(self.walk(node))

    rows = profile(tmp_path, "walk", model=Tree)
    once = 2 * 8 * 12 * 12 * 12
    assert flop(rows, "walk") == {"forward": both(once), "backward": both(once)}


@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero")
@pytest.mark.filterwarnings("ignore:.*returned 0 length")
@pytest.mark.parametrize(
    "loaders",
    [empty, lambda: [empty(), small_data(shuffle=False)], lambda: stream([batch()])],
    ids=["empty", "first of two empty", "short stream"],
)
def test_a_validation_without_a_window_is_named(tmp_path: Path, loaders: Any) -> None:
    class Validated(Model):
        def validation_step(self, given: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self(given[0])

        def val_dataloader(self) -> Any:
            return loaders()

    callback = LayerProfiler("conv2", SCHEDULE, ["train", "validate"])
    with pytest.warns(UserWarning, match="no window opened in validate") as warned:
        train(tmp_path, callback, model=Validated)
    assert len([each for each in warned if "window" in str(each.message)]) == 1
    assert {row["stage"] for row in read_csv(tmp_path)} == {"train"}
