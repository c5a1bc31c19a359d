"""A study that was stopped in the middle goes on with what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from pathlib import Path
from lightning_profile import Schedule
from lightning_profile.study import run_study
from tests.conftest import SmallCnn, small_data


class Slow(SmallCnn):
    def training_step(self, batch, batch_idx):
        if len(batch[0]) == 8 and Path("slow").exists():
            Path("began").touch()
            time.sleep(60)
        return super().training_step(batch, batch_idx)


def data(batch_size):
    return small_data(samples=20 * batch_size, batch_size=batch_size)


if __name__ == "__main__":
    run_study(Slow, data, [4, 8], layers="conv2", schedule=Schedule(wait=2, active=3),
              folder="study", trainer_options={"accelerator": "cpu"})
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "SIGKILL"])
def test_a_study_that_was_stopped_goes_on_with_what_is_missing(
    tmp_path: Path, stop: signal.Signals
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, "utf-8")
    (tmp_path / "slow").touch()
    command = [sys.executable, "program.py"]
    settings: dict[str, Any] = {
        "cwd": tmp_path,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    }
    first = subprocess.Popen(command, start_new_session=True, **settings)
    deadline = time.monotonic() + 120
    while not (tmp_path / "began").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if stop is signal.SIGINT:
        os.killpg(first.pid, stop)  # as a terminal does
    else:
        first.send_signal(stop)
    printed, _ = first.communicate(timeout=60)
    assert first.returncode != 0
    if stop is signal.SIGINT:
        assert "Stopped with 1 of 2 batch sizes done" in printed
    points = tmp_path / "study" / "version_0" / "points"
    assert [path.name for path in points.glob("*.json")] == ["batch_size_4.json"]
    kept = (points / "batch_size_4.json").read_bytes()

    (tmp_path / "slow").unlink()
    second = subprocess.run(command, check=True, timeout=120, **settings)
    assert "Continuing the study in study/version_0: 1 of 2 batch sizes are there (4)" in (
        second.stdout
    )
    assert (points / "batch_size_4.json").read_bytes() == kept
    assert (tmp_path / "study" / "version_0" / "report.html").exists()
