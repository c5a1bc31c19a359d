"""Trainings that would show it if the callback changed anything; each runs on CPU and GPU."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import Callback, LightningModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_profile import LayerProfiler, Schedule
from tests.conftest import read_csv, train
from tests.trainings.rows import SCHEDULE
from tests.trainings.test_loops import Validated
from tests.trainings.test_parametrized import Normed
from tests.trainings.test_passes import Gan, Model, Shared, checkpointed
from tests.trainings.test_precision import HalfAutocast
from tests.trainings.watchful import (
    Dispatching,
    Encoder,
    FrozenEncoder,
    LazyData,
    Packing,
    ShallowEncoder,
    SubclassedEncoder,
    SwitchingEncoder,
    Teaching,
)
from tests.trainings.witness import Witness, differences


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training, and how it is profiled."""

    model: Callable[[], LightningModule] = Model
    layers: Any = "all"
    schedule: Schedule = SCHEDULE
    stages: Any = "train"
    trace: bool = False
    options: dict[str, Any] = field(default_factory=dict)


class Inplace(Model):
    """Changes the outputs of its layers in every way there is."""

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.conv1(images), inplace=True)
        hidden = self.conv2(hidden)
        hidden += 1
        hidden = self.norm(hidden)
        hidden[:, 0] = 0
        hidden = hidden.relu_()
        logits: Tensor = self.fc(F.max_pool2d(hidden, 2).flatten(1))
        return logits.mul_(2)


class Drawing(Model):
    """Draws from every generator, in layers and between them."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)
        self.dropout2d = nn.Dropout2d(0.3)

    def forward(self, images: Tensor) -> Tensor:
        images = images + random.random() + np.random.random() + torch.rand_like(images)  # noqa: NPY002, S311
        hidden = self.dropout2d(F.relu(self.conv1(images)))
        hidden = checkpoint(self.part, hidden, use_reentrant=False)
        return self.fc(self.dropout(F.max_pool2d(hidden, 2).flatten(1)))

    def part(self, hidden: Tensor) -> Tensor:
        return self.dropout(F.relu(self.norm(self.conv2(hidden))))


class Sequences(Model):
    """Recurrent layers and attention, with dropout in both."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(12, 8, num_layers=2, dropout=0.2, batch_first=True)
        self.gru = nn.GRU(8, 8, batch_first=True, bidirectional=True)
        self.attention = nn.MultiheadAttention(16, 2, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden, _ = self.gru(self.lstm(images.squeeze(1))[0])
        hidden, _ = self.attention(hidden, hidden, hidden)
        return self.head(self.encoder(hidden).mean(1))


class Tied(Model):
    """The last layer's weight is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 16)
        self.out = nn.Linear(16, 10, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, images: Tensor) -> Tensor:
        tokens = (images.flatten(1).abs() * 3).long().clamp(max=9)
        return self.out(self.embed(tokens).mean(1))


class Repeating(Model):
    """Its optimizer calls the step again and again."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


class Hooked(Model):
    """Its user's own hooks of every kind take down when they are called, and in which graph."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        for name in ("conv1", "conv2", "fc"):
            layer = getattr(self, name)
            layer.register_forward_pre_hook(self.note(f"before {name}"))
            layer.register_forward_hook(self.note(f"after {name}"))
            layer.weight.register_hook(self.note(f"gradient {name}"))
            layer.weight.register_post_accumulate_grad_hook(self.note(f"accumulated {name}"))
        self.conv2.register_full_backward_pre_hook(self.note("before backward"))
        self.conv2.register_full_backward_hook(self.note("after backward"))
        self.norm.register_forward_hook(self.note("failing, too"), always_call=True)

    def note(self, event: str) -> Callable[..., None]:
        return lambda *_: self.events.append(event)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.conv1(images))
        hidden.register_hook(self.note("gradient of an output"))
        hidden.grad_fn.register_prehook(self.note("node"))
        hidden = F.relu(self.norm(self.conv2(hidden)))
        logits: Tensor = self.fc(F.max_pool2d(hidden, 2).flatten(1))
        nodes = [logits.grad_fn]
        while nodes:
            if (node := nodes.pop()) is not None:
                self.events.append(node.name())
                nodes += [each for each, _ in node.next_functions]
        return logits


LONG = Schedule(wait=0, warmup=2, active=6)
CASES = {
    "eager": Case(),
    "layers with parameters": Case(layers=None),
    "every step": Case(schedule=LONG),
    "bf16-mixed": Case(options={"precision": "bf16-mixed"}),
    "bf16-true": Case(options={"precision": "bf16-true"}),
    "checkpointed": Case(model=checkpointed(use_reentrant=False)),
    "checkpointed, reentrant": Case(model=checkpointed(use_reentrant=True)),
    "in place": Case(model=Inplace),
    "accumulating": Case(options={"accumulate_grad_batches": 3, "gradient_clip_val": 0.1}),
    "clipping values": Case(
        options={"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"}
    ),
    "manual": Case(model=Gan),
    "drawing": Case(model=Drawing),
    "shared": Case(model=Shared),
    "tied": Case(model=Tied),
    "spectral norm": Case(model=Normed),
    "repeating": Case(model=Repeating),
    "both stages": Case(model=Validated, stages=["train", "validate"]),
    "with the trace": Case(model=Validated, stages=["train", "validate"], trace=True),
    "hooked": Case(model=Hooked),
    "dispatching": Case(model=Dispatching),
    "lazy data": Case(model=LazyData),
}
ON_CPU_ONLY = {
    "fp16 by hand": Case(model=HalfAutocast),
    "sequences": Case(model=Sequences),  # attention's kernels are not deterministic on a GPU
    "packing": Case(model=Packing),
    "validated encoder": Case(model=Encoder, stages=["train", "validate"]),
    "frozen encoder": Case(model=FrozenEncoder),
    "switching encoder": Case(model=SwitchingEncoder),
    "subclassed encoder": Case(model=SubclassedEncoder, stages=["train", "validate"]),
    "shallow copies": Case(model=ShallowEncoder, stages=["train", "validate"]),
    "teaching": Case(model=Teaching, layers=None),
}
ON_GPU_ONLY = {"16-mixed": Case(options={"precision": "16-mixed"})}


def as_parameters(cases: dict[str, Case]) -> list[Any]:
    return [pytest.param(case, id=name) for name, case in cases.items()]


def account_of(folder: Path, case: Case, *callbacks: Callback, **options: Any) -> dict[str, Any]:
    """Trains with ``callbacks``; all that another training can be compared by."""
    witness = Witness()
    settings = {"max_epochs": 2} | case.options | options
    model, trainer = train(folder, witness, *callbacks, model=case.model, **settings)
    return witness.account(model, trainer)


def changes(folder: Path, case: Case, **options: Any) -> list[str]:
    """Trains with and without the callback; what differs, and whether there is a profile."""
    profiler = LayerProfiler(case.layers, case.schedule, case.stages, trace=case.trace)
    bare = account_of(folder / "bare", case, **options)
    found = differences(bare, account_of(folder / "profiled", case, profiler, **options))
    if not bare["steps"] or not read_csv(folder / "profiled"):
        found.append("nothing was trained or profiled")
    return found
