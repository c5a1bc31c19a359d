"""What a GPU does otherwise: another backward thread, other operators, several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lightning_profile import Schedule
from lightning_profile.comparison.notes import CUDA_GRAPH, GRAPH_COUNT
from tests.conftest import read_all_rows, read_json
from tests.trainings.rows import both, flop, profile
from tests.trainings.test_compile import wrapped_part
from tests.trainings.test_passes import CONV1, CONV2, Gan, checkpointed

pytestmark = pytest.mark.gpu

ON_GPU: dict[str, Any] = {"accelerator": "gpu", "devices": 1}
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_recomputation_is_told_from_forward_on_the_backwards_own_thread(
    tmp_path: Path, use_reentrant: bool
) -> None:
    model = checkpointed(use_reentrant=use_reentrant)
    rows = profile(tmp_path, ["conv1", "conv2"], model=model, **ON_GPU)
    assert flop(rows, "conv1") == {"forward": both(CONV1), "backward": both(CONV1)}
    assert flop(rows, "conv2") == {
        "forward": both(CONV2),
        "recompute": both(CONV2),
        "backward": both(2 * CONV2),
    }
    for row in rows.values():
        assert int(row["device_time_ns"]) > 0


def test_a_gan_on_a_gpu(tmp_path: Path) -> None:
    rows = profile(tmp_path, "Linear", model=Gan, **ON_GPU)
    once = 2 * 8 * 144 * 32
    assert flop(rows, "critic.0") == {"forward": both(3 * once), "backward": both(3 * once)}


class Resnet(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = torchvision.models.resnet18(num_classes=10)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images = batch[0].repeat(1, 3, 4, 4)
        return nn.functional.cross_entropy(self.net(images), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_every_layer_of_a_resnet(tmp_path: Path, precision: str) -> None:
    rows = profile(tmp_path, "all", model=Resnet, precision=precision, **ON_GPU)
    products = [row for row in rows.values() if row["layer_type"] in ("Conv2d", "Linear")]
    assert len(products) == 2 * 21
    for row in products:
        assert row["counted_flop"] == row["theoretical_flop"] != ""
        dtype = {"32-true": "float32", "bf16-mixed": "bfloat16", "16-mixed": "float16"}
        assert row["dtype"] == dtype[precision]
    (rest,) = [row for row in read_all_rows(tmp_path) if row["layer"] == "rest-of-step"]
    assert rest["counted_flop"] == "0"


class OnStreams(LightningModule):
    """Two layers, the second one on a stream of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.here = nn.Linear(144, 64)
        self.aside = nn.Linear(144, 64)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images = batch[0].flatten(1)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            aside = self.aside(images)
        here = self.here(images)
        torch.cuda.current_stream().wait_stream(stream)
        return (aside * here).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def test_kernels_on_another_stream_are_their_layers(tmp_path: Path) -> None:
    profile(tmp_path, ["here", "aside"], model=OnStreams, **ON_GPU)
    (window,) = read_json(tmp_path)["windows"][:1]
    counts = {
        (row["layer"], row["phase"]): row["kernels"] for row in window["steps"] if row["layer"]
    }
    for phase in ("forward", "backward"):
        assert counts["aside", phase] == counts["here", phase] > 0


class WithGraph(OnStreams):
    """One of the layers replays a CUDA graph."""

    def __init__(self) -> None:
        super().__init__()
        self.aside = Replayed()  # type: ignore[assignment]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images = batch[0].flatten(1)
        return (self.aside(images) * self.here(images)).square().mean()


class Replayed(nn.Module):
    """Multiplies by a constant matrix: recorded once, replayed in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.randn(144, 64))
        self.graph: torch.cuda.CUDAGraph | None = None

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        if self.graph is None:
            self.images = images.clone()
            self.images @ self.matrix  # makes cuBLAS's workspace
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.product = self.images @ self.matrix
        self.images.copy_(images)
        self.graph.replay()
        return self.product.clone()


def test_the_device_time_of_a_cuda_graph_is_unknown(tmp_path: Path) -> None:
    rows = profile(tmp_path, ["here", "aside"], model=WithGraph, **ON_GPU)
    replayed = rows["aside", "forward"]
    assert replayed["device_time_ns"] == replayed["kernels"] == ""
    assert CUDA_GRAPH in replayed["note"]
    assert int(rows["here", "forward"]["device_time_ns"]) > 0


class Sequences(LightningModule):
    """Fused attention and cuDNN's recurrent kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.lstm = nn.LSTM(64, 32, batch_first=True)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch[0].flatten(1)[:, :128].reshape(-1, 2, 64).repeat(1, 16, 1)
        attended, _ = self.attention(x, x, x, need_weights=False)
        return self.lstm(attended)[0].square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_fused_attention_and_recurrence(tmp_path: Path, precision: str) -> None:
    rows = profile(tmp_path, None, model=Sequences, precision=precision, **ON_GPU)
    attention = flop(rows, "attention")
    length, width, batch = 32, 64, 8
    forward = 2 * batch * (4 * length * width**2 + 2 * length**2 * width)
    assert attention["forward"] == both(forward)
    theory, counted = map(int, attention["backward"])
    assert counted - theory == 2 * batch * length**2 * width  # the scores, computed again
    lstm = rows["lstm", "forward"]
    assert lstm["theoretical_flop"] == str(2 * batch * length * 4 * 32 * (64 + 32))
    assert lstm["counted_flop"] == lstm["theoretical_flop"]
    backward = rows["lstm", "backward"]
    first_states = 2 * batch * 4 * 32 * 32  # their gradient is computed though no one needs it
    assert int(backward["counted_flop"]) - int(backward["theoretical_flop"]) == first_states


def test_a_compiled_part_on_a_gpu(tmp_path: Path) -> None:
    rows = profile(tmp_path, ["body", "body.2"], model=wrapped_part, **ON_GPU)
    assert rows["body.2", "forward"]["theoretical_flop"] == str(CONV2)
    assert int(rows["body", "forward"]["device_time_ns"]) > 0
    assert GRAPH_COUNT in rows["body", "forward"]["note"]


def test_two_gpus_together(tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    for mode in ("all", "fault"):
        folder = tmp_path / mode
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "tests.trainings.ddp_program", str(folder), mode, "gpu"],
            cwd=REPOSITORY,
            env=os.environ | {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        conv2 = {
            row["rank"]: row
            for row in read_all_rows(folder)
            if (row["qualified_name"], row["phase"]) == ("conv2", "forward")
        }
        least, most = conv2["min"]["device_time_ns"], conv2["max"]["device_time_ns"]
        assert float(conv2["0"]["counted_flop"]) == CONV2
        if mode == "all":
            assert float(conv2["max"]["counted_flop"]) == CONV2 + 2 * 512**3
            assert 0 < float(least) < float(most)
        else:
            assert "no layer profile came from process 1" in done.stderr
            assert least == most


def test_a_window_of_one_step(tmp_path: Path) -> None:
    schedule = Schedule(wait=1, warmup=1, active=1)
    rows = profile(tmp_path, "critic.0", model=Gan, schedule=schedule, accelerator="cpu")
    assert rows["critic.0", "forward"]["device_time_ns"] == ""  # unknown on a CPU, GPU or not
