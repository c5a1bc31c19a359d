"""The benchmark that looks at a result from the inside still finds it there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def test_what_a_window_writes_is_told_by_place() -> None:
    command = [sys.executable, "benchmarks/size.py", "--layers=2", "--epochs=3"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.splitlines()
    assert "2 layers, 3 epochs" in said
    for place in ("event file", "CSV", "JSON"):
        assert any(line.startswith(f"{place}: ") and "kB per epoch" in line for line in said)
