"""Models that nobody here wrote: every row is a number, or says why it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_profile import LayerProfiler, Schedule
from tests.conftest import read_all_rows, train

SCHEDULE = Schedule(wait=0, warmup=1, active=1)


class Wrapped(LightningModule):
    """A model that computes its own loss from the batch."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=1e-4)


class LanguageModel(Wrapped):
    def loss(self, batch: Any) -> Tensor:
        return self.model(input_ids=batch, labels=batch).loss


def bert() -> LightningModule:
    from transformers import BertConfig, BertForMaskedLM  # noqa: PLC0415  (slow to import)

    config = BertConfig(
        vocab_size=300,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
    )
    return LanguageModel(BertForMaskedLM(config))


def gpt2() -> LightningModule:
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415  (slow to import)

    config = GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, use_cache=False)
    return LanguageModel(GPT2LMHeadModel(config))


def tokens() -> Any:
    return DataLoader(torch.randint(0, 300, (8, 12)), batch_size=4)


class Detector(Wrapped):
    def loss(self, batch: Any) -> Tensor:
        return sum(self.model(*batch).values(), start=torch.zeros(()))


def faster_rcnn() -> LightningModule:
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=3,
        min_size=96,
        max_size=96,
        rpn_pre_nms_top_n_train=50,
        rpn_post_nms_top_n_train=20,
    )
    return Detector(model)


def boxes() -> Any:
    target = {"boxes": torch.tensor([[10.0, 10.0, 60.0, 60.0]]), "labels": torch.tensor([1])}
    sample = (torch.rand(3, 96, 96), target)
    return DataLoader(
        [sample] * 4, batch_size=2, collate_fn=lambda batch: list(zip(*batch, strict=True))
    )


class Segmenter(Wrapped):
    def loss(self, batch: Any) -> Tensor:
        images, labels = batch
        return torch.nn.functional.cross_entropy(self.model(images)["out"], labels)


def lraspp() -> LightningModule:
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    )
    return Segmenter(model)


def masks() -> Any:
    samples = [(torch.rand(3, 64, 64), torch.randint(0, 3, (64, 64))) for _ in range(4)]
    return DataLoader(samples, batch_size=2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers")
@pytest.mark.parametrize(
    ("model", "data"),
    [(bert, tokens), (gpt2, tokens), (faster_rcnn, boxes), (lraspp, masks)],
    ids=lambda each: each.__name__,
)
def test_every_row_is_a_number_or_a_named_unknown(tmp_path: Path, model: Any, data: Any) -> None:
    train(tmp_path, LayerProfiler("all", SCHEDULE), model=model, data=data())
    rows = read_all_rows(tmp_path)
    layers = [row for row in rows if row["qualified_name"]]
    assert len(layers) > 50
    for row in layers:
        for column in ("theoretical_flop", "counted_flop", "cpu_time_ns"):
            assert row[column] or row["note"], (row["qualified_name"], row["phase"], column)

    (rest,) = [row for row in rows if row["layer"] == "rest-of-step"]
    assert rest["counted_flop"] == "0"  # all of the step's products are in the layers' rows
    containers = {
        row["qualified_name"]
        for row in layers
        if any(other["qualified_name"].startswith(f"{row['qualified_name']}.") for other in layers)
    } | {"(model)"}
    own = {"leaves": 0, "containers": 0}
    for row in layers:
        kind = "containers" if row["qualified_name"] in containers else "leaves"
        own[kind] += int(row["own_counted_flop"] or 0)
    assert own["leaves"] >= 0.95 * sum(own.values()) > 0
