"""What only a GPU can show: device time, kernels, and the CUDA allocator's bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.mnist import MnistClassifier
from lightning_profile.records import KernelKind
from tests.conftest import read_csv, read_json, train
from tests.test_untouched_training import Snapshot
from tests.trainings.traces import trace_of

pytestmark = pytest.mark.gpu

FORWARD_FLOP = 2_717_908_992
OPTIONS: dict[str, Any] = {"accelerator": "gpu", "devices": 1}


def mnist_like() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(128 * 20, 1, 28, 28, generator=generator)
    labels = torch.randint(0, 10, (128 * 20,), generator=generator)
    return DataLoader(TensorDataset(images, labels), batch_size=128)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_worked_example_on_a_gpu(tmp_path: Path, precision: str) -> None:
    profiler = LayerProfiler(["Conv2d-1", "Conv2d-2"])
    train(
        tmp_path,
        profiler,
        model=MnistClassifier,
        data=mnist_like(),
        precision=precision,
        max_epochs=2,
        **OPTIONS,
    )
    rows = read_csv(tmp_path)[4:]  # the second epoch: the first one chooses kernels
    item = 4 if precision == "32-true" else 2
    forward, backward = rows[2:]
    assert forward["theoretical_flop"] == forward["counted_flop"] == str(FORWARD_FLOP)
    assert backward["theoretical_flop"] == backward["counted_flop"] == str(2 * FORWARD_FLOP)
    assert rows[1]["counted_flop"] == rows[0]["counted_flop"]
    assert forward["dtype"] == ("float32" if item == 4 else "bfloat16")
    assert forward["theoretical_allocated_bytes"] == str(128 * 64 * 24 * 24 * item)
    if item == 4:  # autocast's casts of input and weight are allocated in the layer too
        assert forward["allocated_bytes"] == forward["theoretical_allocated_bytes"]
    for row in rows:
        assert 0 < int(row["device_time_ns"]) < 10_000_000
        assert int(row["kernels"]) >= 1
        assert int(row["reserved_bytes"]) > 0
        assert row["device"] == "cuda"
    rate = FORWARD_FLOP * 1e9 / int(forward["device_time_ns"])
    assert float(forward["flop_per_s"]) == pytest.approx(rate)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_kernel_has_a_name_a_kind_and_a_share(tmp_path: Path, precision: str) -> None:
    train(
        tmp_path,
        LayerProfiler(["conv1", "conv2", "fc2"], Schedule(wait=3)),
        model=MnistClassifier,
        data=mnist_like(),
        precision=precision,
        **OPTIONS,
    )
    (window,) = read_json(tmp_path)["windows"]
    for row in window["steps"]:
        uses = row["on_device"]["kernels"]
        assert sum(use["count"] for use in uses) == row["kernels"] > 0
        assert sum(use["device_time_ns"] for use in uses) == row["device_time_ns"]
        assert sum(use["share"] for use in uses) == pytest.approx(1)
        if row["layer"] is None:
            continue
        kinds = {use["kind"] for use in uses}
        assert kinds & {"matrix product", "transform"}, uses
        assert kinds <= set(get_args(KernelKind)) - {"communication"}, uses
        assert sum(use["share"] for use in uses if use["kind"] == "other") <= 0.01, uses
        assert row["on_device"]["span_ns"] > 0
        assert row["wall_time_ns"] >= row["cpu_time_ns"]
    linear = next(row for row in read_csv(tmp_path) if row["qualified_name"] == "fc2")
    assert linear["grad_input_device_time_ns"] == ""  # the forward has no gradients
    gradients = [row for row in read_csv(tmp_path) if row["phase"] == "backward"][2]
    for name in ("grad_input", "grad_weight"):
        assert 0 < int(gradients[f"{name}_device_time_ns"]) < int(gradients["device_time_ns"])


def test_kernels_and_device_time_add_up_to_the_step(tmp_path: Path) -> None:
    train(tmp_path, LayerProfiler("Conv2d-2"), model=MnistClassifier, data=mnist_like(), **OPTIONS)
    (window,) = read_json(tmp_path)["windows"]
    for step in window["compared_steps"]:
        rows = [row for row in window["steps"] if row["step"] == step]
        layer = sum(row["device_time_ns"] for row in rows if row["layer"])
        total = sum(row["device_time_ns"] for row in rows)
        assert 0.05 < layer / total < 0.95  # copies of the data are in the total
        assert sum(row["kernels"] for row in rows) > 20


def test_the_training_is_the_same_bit_for_bit_with_deterministic_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    bare, profiled = Snapshot("train/loss"), Snapshot("train/loss")
    options = OPTIONS | {"deterministic": True, "max_epochs": 2}
    try:
        train(tmp_path / "a", bare, model=MnistClassifier, data=mnist_like(), **options)
        train(
            tmp_path / "b",
            LayerProfiler("Conv2d-2", Schedule(wait=2)),
            profiled,
            model=MnistClassifier,
            data=mnist_like(),
            **options,
        )
    finally:
        torch.use_deterministic_algorithms(mode=False)
    assert len(read_csv(tmp_path / "b")) == 4
    assert all(torch.equal(bare.weights[name], profiled.weights[name]) for name in bare.weights)
    assert torch.equal(bare.rng, profiled.rng)


def test_the_kernels_of_a_layer_are_in_the_trace(tmp_path: Path) -> None:
    profiler = LayerProfiler("conv2", Schedule(wait=3), trace=True)
    train(tmp_path, profiler, model=MnistClassifier, data=mnist_like(), **OPTIONS)
    trace = trace_of(tmp_path)
    kinds = ("kernel", "gpu_memset", "gpu_memcpy")
    kernels = [event for event in trace.events if event.get("cat") in kinds]
    (window,) = read_json(tmp_path)["windows"]
    rows = {row["phase"]: row for row in window["steps"] if row["layer"]}
    names = [event["name"] for event in kernels]
    for phase in ("forward", "backward"):
        for use in rows[phase]["on_device"]["kernels"]:
            assert names.count(use["name"]) >= use["count"]
    # On the host, and once more as its picture on the device.
    on_host, on_device = (
        next(each for each in trace.named("conv2 forward") if each["cat"] == category)
        for category in ("user_annotation", "gpu_user_annotation")
    )
    (step,) = trace.named("training step 3")
    assert step["tid"] == on_host["tid"]
    device_time_us = sum(
        each["dur"] for each in kernels if 0 <= each["ts"] - on_device["ts"] <= on_device["dur"]
    )
    assert device_time_us == pytest.approx(rows["forward"]["device_time_ns"] / 1e3, rel=0.01)


def test_the_users_peak_counters_are_left_alone(tmp_path: Path) -> None:
    torch.cuda.reset_peak_memory_stats()
    block = torch.empty(2**30, device="cuda")
    peak = torch.cuda.max_memory_allocated()
    del block
    train(tmp_path, LayerProfiler("Conv2d-2"), model=MnistClassifier, data=mnist_like(), **OPTIONS)
    assert torch.cuda.max_memory_allocated() >= peak


class LaunchesByItself(MnistClassifier):
    """Launches kernels that are no operator's: in a layer, and beside all layers."""

    def __init__(self) -> None:
        super().__init__()
        self.spin = Spin()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        torch.cuda._sleep(100_000)
        return super().training_step((self.spin(batch[0]), batch[1]), batch_idx)


class Spin(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        torch.cuda._sleep(100_000)
        return images


def test_a_kernel_that_no_operator_launched_is_in_the_row_of_what_called_it(
    tmp_path: Path,
) -> None:
    profiler = LayerProfiler(["spin", "conv2"], Schedule(wait=3, active=2))
    train(tmp_path, profiler, model=LaunchesByItself, data=mnist_like(), **OPTIONS)
    window = read_json(tmp_path)["windows"][-1]
    found = {
        (row["step"], row["layer"], row["is_optimizer"]): use["count"]
        for row in window["steps"]
        for use in row["on_device"]["kernels"]
        if "spin_kernel" in use["name"]
    }
    steps = window["compared_steps"]
    assert found == {(step, name, False): 1 for step in steps for name in ("spin", None)}
