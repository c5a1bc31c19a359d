"""Compiled models: the training runs, theory is shown, and what can't be seen is said by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lightning_profile import LayerProfiler
from lightning_profile.comparison.notes import GRAPH_COUNT, IN_GRAPH
from tests.conftest import SmallCnn, read_csv, train
from tests.trainings.rows import SCHEDULE

pytestmark = [
    # Of torch.compile itself, on the newest torch.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]

BACKEND = "aot_eager"  # a real graph, without waiting for a C++ compiler
FLOP = 2 * 8 * 8 * 10 * 10 * 4 * 9  # conv2, a batch of 8


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    yield
    torch.compiler.reset()


class Parted(SmallCnn):
    """Only the convolutions are in the compiled part."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(self.conv1, nn.ReLU(inplace=True), self.conv2)
        del self.conv1, self.conv2, self.unused

    def forward(self, images: Tensor) -> Tensor:
        hidden = nn.functional.relu(self.norm(self.body(images)))
        return self.fc(nn.functional.max_pool2d(hidden, 2).flatten(1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def wrapped_part() -> LightningModule:
    model = Parted()
    model.body = torch.compile(model.body, backend=BACKEND)  # type: ignore[assignment]
    return model


def part_in_place() -> LightningModule:
    model = Parted()
    model.body.compile(backend=BACKEND)
    return model


class Body(nn.Module):
    """It has no length, and to ask torch's wrapper of it for one is an error."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def wrapped_module() -> LightningModule:
    model = Parted()
    model.body = torch.compile(Body(model.body), backend=BACKEND)  # type: ignore[assignment]
    return model


def whole_model() -> Any:
    return torch.compile(SmallCnn(), backend=BACKEND)


def rows_of(folder: Path, layers: Any, model: Callable[[], Any], **options: Any) -> Any:
    train(folder, LayerProfiler(layers, SCHEDULE), model=model, **options)
    return {(row["qualified_name"], row["phase"]): row for row in read_csv(folder)}


@pytest.mark.parametrize(
    ("model", "conv2", "seen"),
    [
        (wrapped_part, "body.2", ("norm", "fc")),
        (wrapped_module, "body.layers.2", ("norm", "fc")),
        (part_in_place, "body.2", ("norm", "fc")),
        (whole_model, "conv2", ()),
    ],
)
def test_theory_is_shown_and_what_cannot_be_seen_is_named(
    tmp_path: Path, model: Callable[[], Any], conv2: str, seen: tuple[str, ...]
) -> None:
    rows = rows_of(tmp_path, None, model)
    forward, backward = rows[conv2, "forward"], rows[conv2, "backward"]
    assert (forward["theoretical_flop"], backward["theoretical_flop"]) == (str(FLOP), str(2 * FLOP))
    assert forward["counted_flop"] == forward["cpu_time_ns"] == ""
    assert forward["note"] == backward["note"] == IN_GRAPH
    assert forward["calls"] == "1"
    for name in seen:
        assert int(rows[name, "forward"]["cpu_time_ns"]) > 0
    if seen:
        assert rows["fc", "forward"]["counted_flop"] == rows["fc", "forward"]["theoretical_flop"]


def test_a_compiled_part_is_measured_as_a_whole(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "body", wrapped_part)
    for phase in ("forward", "backward"):
        row = rows["body", phase]
        assert int(row["cpu_time_ns"]) > 0
        assert row["counted_flop"] == ""
        assert GRAPH_COUNT in row["note"]


def test_mixed_precision_reaches_the_inferred_calls(tmp_path: Path) -> None:
    for folder, model in (("part", wrapped_part), ("whole", whole_model)):
        rows = rows_of(tmp_path / folder, None, model, precision="bf16-mixed")
        name = "body.2" if folder == "part" else "conv2"
        assert rows[name, "forward"]["dtype"] == "bfloat16"
        assert rows[name, "forward"]["theoretical_write_bytes"] == str(2 * 8 * 8 * 100)


def test_the_copy_that_infers_shapes_changes_nothing_of_the_model(tmp_path: Path) -> None:
    bare, _ = train(tmp_path / "bare", model=part_in_place)
    profiled, _ = train(tmp_path / "profiled", LayerProfiler(None, SCHEDULE), model=part_in_place)
    for name, value in bare.state_dict().items():
        assert torch.equal(value, profiled.state_dict()[name]), name


class Noisy(Parted):
    """Draws from every generator there is, within its compiled part."""

    def __init__(self) -> None:
        super().__init__()
        self.body.append(Wobble())


class Wobble(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        scale = draw()
        return nn.functional.dropout(x, 0.5) * scale + torch.rand(()) * 0.1


@torch.compiler.disable
def draw() -> float:
    return random.random() + float(np.random.random())  # noqa: NPY002, S311


def test_the_copy_draws_no_random_numbers(tmp_path: Path) -> None:
    def noisy() -> LightningModule:
        model = Noisy()
        model.body = torch.compile(model.body, backend=BACKEND)  # type: ignore[assignment]
        return model

    after = []
    for name, layers in (("bare", []), ("profiled", [LayerProfiler(None, SCHEDULE)])):
        train(tmp_path / name, *layers, model=noisy)
        after.append((random.random(), float(np.random.random()), float(torch.rand(()))))  # noqa: NPY002, S311
    assert after[0] == after[1]


def test_the_copy_is_not_compiled_and_calls_no_hooks_of_the_user(tmp_path: Path) -> None:
    compiled, hooked = [], []

    def counting_backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    class Body(nn.Sequential):
        """Of a file that older compilers don't pass over."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    def in_place() -> LightningModule:
        model = Parted()
        model.body = Body(*model.body)
        model.norm.register_forward_hook(lambda *_: hooked.append(1))
        model.body.compile(backend=counting_backend)
        return model

    counts = []
    for name, layers in (("bare", []), ("profiled", [LayerProfiler(None, SCHEDULE)])):
        torch.compiler.reset()
        compiled.clear()
        hooked.clear()
        train(tmp_path / name, *layers, model=in_place)
        counts.append((len(compiled), len(hooked)))
    assert counts[0] == counts[1]
    assert counts[0][0] > 0
    assert counts[0][1] == 8


def test_shapes_that_cannot_be_inferred_are_said_to_be_unknown(tmp_path: Path) -> None:
    class Peeking(SmallCnn):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            assert float(batch[0].abs().sum()) > 0  # needs the data
            return super().training_step(batch, batch_idx)

    def in_place() -> LightningModule:
        model = Peeking()
        model.conv2.compile(backend=BACKEND)
        return model

    row = rows_of(tmp_path, "conv2", in_place)["conv2", "forward"]
    assert row["theoretical_flop"] == ""
    assert row["note"].startswith(f"{IN_GRAPH}; its shapes could not be inferred: ")
