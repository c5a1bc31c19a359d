"""Trainings that are ended from outside, and two that begin at one moment."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import as_document
from tests.faults.trainings import WINDOW_ROWS, drain, kill_after, start, wait_until
from tests.trainings.traces import read_trace

REPOSITORY = Path(__file__).parents[2]
KILLS = 36


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def assert_whole(folder: Path) -> list[list[dict[str, str]]]:
    """Every window of the folder's files with all of its rows, in the order of the file."""
    windows: list[list[dict[str, str]]] = []
    for row in rows_of((folder / "layer_profile.csv").read_text("utf-8")):
        assert None not in row.values()
        if not windows or len(windows[-1]) == WINDOW_ROWS:
            windows.append([])
        windows[-1].append(row)
    for window in windows:
        assert len(window) == WINDOW_ROWS
        assert len({(row["epoch"], row["global_step"]) for row in window}) == 1
        assert [row["layer"] for row in window] == [
            *["Conv2d-1"] * 2,
            *["Conv2d-2"] * 2,
            "optimizer",
            "rest-of-step",
        ]
    return windows


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [0, 1, 2, 3, 6])
def test_a_signal_leaves_every_finished_window(
    tmp_path: Path, number: signal.Signals, step: int
) -> None:
    process, told = start(tmp_path, epochs=1000)
    wait_until(told, 2, step)
    os.kill(process.pid, number)
    last = [2, *(epoch for epoch, _ in drain(told))][-1]
    process.join()
    # Lightning ends a training that is to terminate as if it were complete.
    assert process.exitcode == (1 if number == signal.SIGINT else 0)
    assert last < 999
    windows = assert_whole(tmp_path / "runs" / "version_0")
    epochs = [int(window[0]["epoch"]) for window in windows]
    assert epochs[:2] == [0, 1]
    assert epochs == list(range(len(epochs)))
    assert last - 1 <= epochs[-1] <= last
    document = as_document(tmp_path / "runs" / "version_0" / "layer_profile.jsonl")
    assert [window["epoch"] for window in document["windows"]] == epochs
    if number == signal.SIGINT:
        assert "what it should cost, what it costs" in (tmp_path / "output.txt").read_text()


def test_files_survive_being_killed_and_a_restart_appends(tmp_path: Path) -> None:
    moments = random.Random(3)  # noqa: S311
    folder = tmp_path / "runs" / "version_0"
    table, lines = folder / "layer_profile.csv", folder / "layer_profile.jsonl"
    trace = folder / "trace_train.json.gz"
    windows_before = 0
    for _ in range(KILLS):
        before = [path.read_text("utf-8") if path.exists() else "" for path in (table, lines)]
        process, told = start(tmp_path, epochs=1000)
        wait_until(told, 0)
        kill_after(process, moments.uniform(0, 0.5))
        drain(told)
        for path, earlier in zip((table, lines), before, strict=True):
            text = path.read_text("utf-8") if path.exists() else ""
            whole = earlier[: earlier.rfind("\n") + 1]
            assert text.startswith(whole)  # nothing that was there has changed
        whole = table.read_text("utf-8") if table.exists() else ""
        found = rows_of(whole[: whole.rfind("\n") + 1])
        windows_before = len(found) // WINDOW_ROWS
        for line in lines.read_text("utf-8").split("\n")[:-1] if lines.exists() else []:
            json.loads(line)
        assert not trace.exists() or read_trace(trace).named("training step 3")
    process, told = start(tmp_path, epochs=2)
    drain(told)
    process.join()
    assert process.exitcode == 0
    windows = assert_whole(folder)
    assert len(windows) >= windows_before + 2 > KILLS  # the kills came late enough
    assert [window[0]["epoch"] for window in windows[-2:]] == ["0", "1"]
    document = as_document(lines)
    assert len(document["windows"]) >= len(windows) - KILLS


def test_two_trainings_with_one_log_folder_keep_apart(tmp_path: Path) -> None:
    both = [start(tmp_path, epochs=4, version=0) for _ in range(2)]
    for process, told in both:
        drain(told)
        process.join()
        assert process.exitcode == 0
    folders = sorted(path.parent for path in tmp_path.rglob("layer_profile.csv"))
    assert [folder.name for folder in folders] == ["version_0", "version_1"]
    for folder in folders:
        windows = assert_whole(folder)
        assert [window[0]["epoch"] for window in windows] == ["0", "1", "2", "3"]
        assert len(as_document(folder / "layer_profile.jsonl")["windows"]) == 4
    output = (tmp_path / "output.txt").read_text()
    assert output.count("another LayerProfiler of this one, is writing to") == 1


def test_two_main_jobs_that_start_together_get_two_versions(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "train.py",
        "--config=configs/quick.yaml",
        "--dataset=digits",
        f"--log_dir={tmp_path}",
        "--trainer.max_epochs=1",
        "--trainer.limit_test_batches=1",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    options: dict[str, Any] = {"cwd": REPOSITORY, "env": environment, "stdout": subprocess.PIPE}
    both = [
        subprocess.Popen(command, stderr=subprocess.STDOUT, text=True, **options) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    for version in ("version_0", "version_1"):
        folder = tmp_path / "mnist" / version
        assert {row["epoch"] for row in rows_of((folder / "layer_profile.csv").read_text())} == {
            "0"
        }
        assert len(list(folder.glob("events.out.tfevents.*"))) >= 1
    assert not (tmp_path / "mnist" / "version_2").exists()
    for output in outputs:
        assert "another training" not in output
