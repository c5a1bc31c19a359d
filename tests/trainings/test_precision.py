"""Mixed precision and memory formats: the type is reported, and casts are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from tests.conftest import read_json
from tests.trainings.rows import both, flop, profile
from tests.trainings.test_passes import CONV2, Model

OUTPUT, INPUT, WEIGHT, BIAS = 8 * 8 * 100, 8 * 4 * 100, 8 * 4 * 9, 8  # conv2's elements


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-mixed", "bfloat16"), ("16-mixed", "float16")]
)
def test_casts_are_part_of_the_layer_and_named(tmp_path: Path, precision: str, dtype: str) -> None:
    if precision == "16-mixed":  # Lightning's mixed precision of the CPU, with another type
        rows = profile(tmp_path, "conv2", model=HalfAutocast)
    else:
        rows = profile(tmp_path, "conv2", model=Model, precision=precision)
    forward, backward = rows["conv2", "forward"], rows["conv2", "backward"]
    assert forward["dtype"] == backward["dtype"] == dtype
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}
    # Weight and bias; the input comes in the lower type already.
    assert forward["note"] == f"includes casts: 2 × float32 to {dtype}"
    casts = 2 if _has_own_convolution(dtype) else 3  # torch's general kernels need another one
    assert backward["note"] == f"includes casts: {casts} × {dtype} to float32"
    (window,) = read_json(tmp_path)["windows"]
    operators = next(
        row["operators"]
        for row in window["steps"]
        if row["layer"] == "conv2" and row["phase"] == "forward"
    )
    (cast,) = [each for each in operators if each["name"] == "aten::_to_copy"]
    assert cast["count"] == 2
    inside = sum(each["cpu_time_ns"] for each in operators)
    step = next(row for row in window["steps"] if row["layer"] == "conv2")
    assert inside == step["cpu_time_ns"]  # the cast's time is in the layer's


def _has_own_convolution(dtype: str) -> bool:
    """Whether oneDNN has one for this type here, which depends on the CPU; never in half."""
    return dtype == "bfloat16" and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Attends(Model):
    """Its attention makes a tensor of a Python number, its scale, and casts it."""

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.attend(images.flatten(1)[:, None, None, :96].reshape(-1, 1, 12, 8))
        return super().forward(images) + tokens.mean()

    def __init__(self) -> None:
        super().__init__()
        self.attend = Attention()


class Attention(nn.Module):
    """With weights that are looked at, so that torch takes no fused kernel."""

    def forward(self, tokens: Tensor) -> Tensor:
        bias = torch.zeros(12, 12, requires_grad=True)
        return F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=bias)


def test_a_single_number_is_no_cast(tmp_path: Path) -> None:
    rows = profile(tmp_path, "attend", model=Attends)
    (window,) = read_json(tmp_path)["windows"]
    operators = [use["name"] for row in window["steps"] for use in row["operators"]]
    assert "aten::_to_copy" in operators
    assert "casts" not in rows["attend", "forward"]["note"]
    assert all(row["casts"] == [] for row in window["steps"])


class HalfAutocast(Model):
    """Lightning refuses 16-mixed on a CPU; autocast itself does not."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.float16):
            return super().forward(images).float()


def test_traffic_and_gradients_are_in_the_types_they_have(tmp_path: Path) -> None:
    rows = profile(tmp_path, "conv2", model=Model, precision="bf16-mixed")
    forward, backward = rows["conv2", "forward"], rows["conv2", "backward"]
    assert forward["theoretical_read_bytes"] == str(2 * (INPUT + WEIGHT + BIAS))
    assert forward["theoretical_write_bytes"] == str(2 * OUTPUT)
    assert backward["theoretical_allocated_bytes"] == str(2 * INPUT + 4 * (WEIGHT + BIAS))
    assert backward["allocated_bytes"] == backward["theoretical_allocated_bytes"]


def test_true_half_precision_has_no_casts(tmp_path: Path) -> None:
    rows = profile(tmp_path, "conv2", model=Model, precision="bf16-true")
    assert rows["conv2", "forward"]["dtype"] == "bfloat16"
    assert rows["conv2", "forward"]["note"] == ""
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}


def test_channels_last_changes_no_number(tmp_path: Path) -> None:
    def channels_last() -> LightningModule:
        return Model().to(memory_format=torch.channels_last)

    rows = profile(tmp_path, "conv2", model=channels_last)
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}
    assert rows["conv2", "forward"]["allocated_bytes"] == str(4 * OUTPUT)
    assert rows["conv2", "forward"]["dtype"] == "float32"
