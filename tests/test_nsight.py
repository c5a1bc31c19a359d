"""Trainings under NVIDIA's own profiler, as its users start them; each takes half a minute."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_profile import NvtxRanges
from lightning_profile.counters.tool import find_tool
from tests.conftest import read_csv
from tests.trainings.untouched import (
    CASES,
    ON_GPU_ONLY,
    Case,
    account_of,
    as_parameters,
)
from tests.trainings.witness import differences

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parent.parent
TWO_STEPS = (
    "--trainer.accelerator=gpu",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=0",
    "--trainer.limit_test_batches=1",
    "--trainer.enable_progress_bar=false",
)


def under_ncu(folder: Path, *arguments: str) -> str:
    """Standard output of ``ncu`` with ``arguments``, which begin with its own."""
    tool = find_tool(os.environ)
    if tool is None:
        pytest.skip("needs Nsight Compute's ncu")
    program = (sys.executable, str(ROOT / "train.py"), f"--data_dir={ROOT / 'data'}", *TWO_STEPS)
    split = arguments.index("--")
    finished = subprocess.run(
        [tool, *arguments[:split], *program, *arguments[split + 1 :]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.parametrize(
    ("range_name", "kernel"), [("Conv2d-2 forward", "fprop"), ("Conv2d-2 backward", "grad")]
)
def test_nsight_compute_finds_the_kernels_of_a_layer_by_its_range(
    tmp_path: Path, range_name: str, kernel: str
) -> None:
    output = under_ncu(
        tmp_path,
        *("--nvtx", "--nvtx-include", f"{range_name}/", "--metrics", "gpu__time_duration.sum"),
        *("--csv", "--", "--profile=false", "--nvtx=true", "--trainer.precision=bf16-mixed"),
    )
    table = output[output.index('"ID"') :].splitlines()
    names = [row["Kernel Name"] for row in csv.DictReader(table) if row.get("Kernel Name")]
    print(range_name, *sorted(set(names)), sep="\n  ")
    assert any(kernel in name for name in names)
    elsewhere = ("pool", "softmax", "nll_loss", "adadelta", "multi_tensor", "dropout")
    assert not [name for name in names if any(word in name.lower() for word in elsewhere)]


def test_under_nsight_compute_device_times_are_unknown_and_the_rest_is_there(
    tmp_path: Path,
) -> None:
    under_ncu(tmp_path, "--profile-from-start", "off", "--", "--schedule.wait=1")
    rows = read_csv(tmp_path / "logs")
    assert [row["phase"] for row in rows] == ["forward", "backward"]
    for row in rows:
        assert row["device_time_ns"] == ""
        assert row["theoretical_flop"] == row["counted_flop"] != ""
        assert "device time unknown" in row["note"]


@pytest.mark.parametrize("case", as_parameters(CASES | ON_GPU_ONLY))
def test_ranges_leave_a_training_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    options = {"accelerator": "gpu", "devices": 1, "deterministic": True}
    bare = account_of(tmp_path / "bare", case, **options)
    marked = account_of(tmp_path / "marked", case, NvtxRanges(case.layers), **options)
    assert bare["steps"]
    assert differences(bare, marked) == []
