"""Hardware counts in a training: beside theory, or why there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.mnist import MnistClassifier
from tests.conftest import read_csv, read_json, read_rest, train
from tests.test_gpu import FORWARD_FLOP, OPTIONS, mnist_like
from tests.test_untouched_training import Snapshot


def profiler(*layers: str, wait: int = 2) -> LayerProfiler:
    return LayerProfiler(layers or ["Conv2d-2"], Schedule(wait=wait), counters="ncu")


def test_on_a_cpu_each_row_says_why_there_is_no_count(tmp_path: Path) -> None:
    bare, profiled = Snapshot(), Snapshot()
    train(tmp_path / "bare", bare, max_epochs=2)
    train(tmp_path / "profiled", profiler("Conv2d-1", "Conv2d-2"), profiled, max_epochs=2)
    rows = read_csv(tmp_path / "profiled")
    assert len(rows) == 8
    for row in rows:
        assert row["hardware_flop"] == row["dram_read_bytes"] == ""
        assert "no hardware count: " in row["note"]
        assert "NVIDIA" in row["note"]
        assert row["counted_flop"] == row["theoretical_flop"] != ""
    assert all(torch.equal(bare.weights[name], profiled.weights[name]) for name in bare.weights)
    assert torch.equal(bare.rng, profiled.rng)


def test_a_window_without_a_step_before_it_says_so(tmp_path: Path) -> None:
    train(tmp_path, profiler(wait=0))
    for row in read_csv(tmp_path):
        assert row["hardware_flop"] == ""
        assert "no hardware count: the window begins with the epoch's first step" in row["note"]


def test_other_counters_are_refused() -> None:
    with pytest.raises(ValueError, match="counters must be 'ncu' or None, not 'nvprof'"):
        LayerProfiler(counters="nvprof")


@pytest.mark.gpu
@pytest.mark.parametrize("arithmetic", ["fp32", "tf32", "bf16", "fp16"])
def test_the_hardware_executes_what_theory_says(
    tmp_path: Path, arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = OPTIONS | {"max_epochs": 2}
    if arithmetic in ("bf16", "fp16"):
        options["precision"] = f"{arithmetic.removeprefix('fp')}-mixed"
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", arithmetic == "tf32")
    train(tmp_path, profiler(), model=MnistClassifier, data=mnist_like(), **options)
    rows = read_csv(tmp_path)
    for forward, backward in (rows[:2], rows[2:]):
        assert forward["hardware_flop"] == forward["theoretical_flop"] == str(FORWARD_FLOP)
        # More by padded tiles, or fewer by Fourier transform, as in fp32.
        executed = int(backward["hardware_flop"])
        assert executed > FORWARD_FLOP
        if abs(executed / (2 * FORWARD_FLOP) - 1) > 0.01:
            assert "× theory: " in backward["note"]
            assert "reason unknown" not in backward["note"]
        for row in (forward, backward):
            assert int(row["dram_read_bytes"]) > 1_000_000
            assert int(row["dram_write_bytes"]) >= 0
    assert read_rest(tmp_path)[0]["hardware_flop"] == ""
    window = read_json(tmp_path)["windows"][0]
    counted = {each["phase"]: each["count"] for each in window["hardware"]}
    assert {kernel["name"] for kernel in counted["forward"]["kernels"]}
    print(arithmetic, [(row["phase"], row["hardware_flop"], row["note"]) for row in rows[:2]])


@pytest.mark.gpu
def test_a_counted_training_is_the_same_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    bare, profiled = Snapshot("train/loss"), Snapshot("train/loss")
    options = OPTIONS | {"deterministic": True}
    try:
        train(tmp_path / "a", bare, model=MnistClassifier, data=mnist_like(), **options)
        train(
            tmp_path / "b",
            profiler(),
            profiled,
            model=MnistClassifier,
            data=mnist_like(),
            **options,
        )
    finally:
        torch.use_deterministic_algorithms(mode=False)
    assert read_csv(tmp_path / "b")[0]["hardware_flop"] == str(FORWARD_FLOP)
    assert all(torch.equal(bare.weights[name], profiled.weights[name]) for name in bare.weights)
    assert torch.equal(torch.stack(bare.losses), torch.stack(profiled.losses))
    assert torch.equal(bare.rng, profiled.rng)
