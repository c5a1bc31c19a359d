"""Programs that get stuck are ended, with all that they started, and nothing else is."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from lightning_profile.counters import processes
from lightning_profile.counters.processes import run

SPAWNING = """
import os, pathlib, signal, subprocess, sys, time
if {is_stubborn}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", {child!r}])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
print("started", flush=True)
time.sleep(600)
"""
CHILD = "import time; time.sleep(600)"
STUBBORN_CHILD = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait_until_gone(pid: int) -> None:
    for _ in range(200):
        if not _is_alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} is still there")


def test_a_program_that_ends_gives_what_it_printed() -> None:
    program = "import sys; print('out'); print('bad', file=sys.stderr); sys.exit(3)"
    finished = run([sys.executable, "-c", program], os.environ, 60.0)
    assert (finished.exit_code, finished.output, finished.errors) == (3, "out\n", "bad\n")


@pytest.mark.parametrize("is_stubborn", [False, True])
def test_a_stuck_program_and_its_child_are_ended(
    is_stubborn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_GRACE_S", 0.5)
    child = STUBBORN_CHILD if is_stubborn else CHILD
    program = SPAWNING.format(is_stubborn=is_stubborn, child=child)
    note = tmp_path / "pid"
    finished = run([sys.executable, "-c", program, str(note)], os.environ, 3.0)
    assert finished.exit_code is None
    assert finished.output == "started\n"
    _wait_until_gone(int(note.read_text("utf-8")))


def test_what_a_program_leaves_behind_is_ended_too(tmp_path: Path) -> None:
    program = (
        "import pathlib, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {CHILD!r}])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
    )
    note = tmp_path / "pid"
    finished = run([sys.executable, "-c", program, str(note)], os.environ, 60.0)
    assert finished.exit_code == 0
    _wait_until_gone(int(note.read_text("utf-8")))


def test_an_interrupt_while_waiting_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "pid"
    program = SPAWNING.format(is_stubborn=False, child=CHILD)
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if note.exists() and note.read_text("utf-8") and len(naps) < 10_000:
            naps.extend([0.0] * 10_000)
            raise KeyboardInterrupt
        os.sched_yield()

    monkeypatch.setattr(processes.time, "sleep", nap)
    with pytest.raises(KeyboardInterrupt):
        run([sys.executable, "-c", program, str(note)], os.environ, 60.0)
    monkeypatch.undo()
    _wait_until_gone(int(note.read_text("utf-8")))


def test_a_program_that_is_not_there_raises() -> None:
    with pytest.raises(OSError, match="no such program"):
        run(["/no such program"], os.environ, 1.0)
