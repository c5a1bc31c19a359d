"""Several processes: each measures, the first writes, and nobody waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import read_all_rows
from tests.trainings.witness import differences

REPOSITORY = Path(__file__).parents[2]
QUIET_AND_DETERMINISTIC = {
    "KINETO_LOG_LEVEL": "99",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
FLOP = 2 * 8 * 8 * 10 * 10 * 4 * 9  # conv2, a batch of 8 per process


def train_together(folder: Path, mode: str, *options: str) -> str:
    """Run the program with two processes; returns what they wrote to stderr."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainings.ddp_program", str(folder), mode, *options],
        cwd=REPOSITORY,
        env=os.environ | QUIET_AND_DETERMINISTIC,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def accounts(folder: Path) -> list[dict[str, Any]]:
    """What each process computed."""
    return [torch.load(folder / f"account{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    train_together(folder, "all")
    return folder


def test_the_first_process_writes_and_each_number_has_its_spread(profiled: Path) -> None:
    rows = read_all_rows(profiled)
    assert len(list(profiled.rglob("layer_profile.csv"))) == 1
    conv2 = {
        row["rank"]: row
        for row in rows
        if (row["qualified_name"], row["phase"], row["epoch"]) == ("conv2", "backward", "0")
    }
    assert list(conv2) == ["0", "min", "mean", "max"]
    for row in conv2.values():
        assert float(row["counted_flop"]) == 2 * FLOP  # each process has a batch of its own
    times = [float(conv2[name]["cpu_time_ns"]) for name in ("min", "mean", "max")]
    assert times == sorted(times)
    assert times[1] == pytest.approx((times[0] + times[2]) / 2)  # of two processes
    assert float(conv2["0"]["cpu_time_ns"]) in (times[0], times[2])
    assert {row["epoch"] for row in rows} == {"0", "1"}


def test_a_straggler_shows(profiled: Path) -> None:
    forward = {
        row["rank"]: row
        for row in read_all_rows(profiled)
        if (row["qualified_name"], row["phase"], row["epoch"]) == ("conv2", "forward", "1")
    }
    extra = 2 * 512**3  # what the second process does on top
    assert float(forward["min"]["counted_flop"]) == FLOP
    assert float(forward["max"]["counted_flop"]) == FLOP + extra
    assert float(forward["mean"]["counted_flop"]) == FLOP + extra / 2
    assert float(forward["max"]["cpu_time_ns"]) > float(forward["min"]["cpu_time_ns"])


def test_the_spread_is_charted(profiled: Path) -> None:
    (events,) = profiled.rglob("events.out.tfevents.*")
    tags = EventAccumulator(str(events)).Reload().Tags()["scalars"]
    assert {f"Conv2d-2/forward/cpu_time_ns/{name}" for name in ("min", "mean", "max")} <= set(tags)


def test_the_training_is_the_same_with_and_without(tmp_path: Path, profiled: Path) -> None:
    train_together(tmp_path / "bare", "bare")
    assert differences(accounts(tmp_path / "bare"), accounts(profiled)) == []


def test_a_process_without_a_profile_makes_no_other_wait(tmp_path: Path) -> None:
    stderr = train_together(tmp_path, "fault")
    assert stderr.count("a fault of one process") == 1
    assert "no layer profile came from process 1" in stderr
    rows = read_all_rows(tmp_path)
    conv2 = [row for row in rows if row["qualified_name"] == "conv2" and row["rank"] == "max"]
    assert {row["epoch"] for row in conv2} == {"0", "1"}
    assert [float(row["counted_flop"]) for row in conv2[:2]] == [FLOP, 2 * FLOP]
