"""A training that is killed: its pictures are drawn all the same, and nothing is left running."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.faults.trainings import drain, kill_after, start, wait_until


def commands(folder: Path) -> dict[int, bytes]:
    """Command lines of processes that draw for a training in ``folder``."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in os.readlink(path / "cwd"):  # noqa: PTH115
                found[int(path.name)] = (path / "cmdline").read_bytes()
        except OSError:
            continue
    return {pid: command for pid, command in found.items() if b"drawing" in command}


def test_a_killed_trainings_window_is_drawn_and_the_process_ends(tmp_path: Path) -> None:
    process, told = start(tmp_path, epochs=1000, figures=True)
    wait_until(told, 0, 6)  # the first window is over
    assert commands(tmp_path)
    kill_after(process, 0)
    drain(told)
    end = time.monotonic() + 60
    while commands(tmp_path) and time.monotonic() < end:
        time.sleep(0.1)
    assert not commands(tmp_path)
    drawn = sorted(path.name for path in tmp_path.rglob("train_000004_*.png"))
    assert drawn == [f"train_000004_{kind}.png" for kind in ("kernels", "memory", "roofline")]
    assert not list(tmp_path.rglob("*.part"))
