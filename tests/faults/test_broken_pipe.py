"""Nobody reads what is printed any more, as in ``python program.py | head -1``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import read_csv

ROOT = Path(__file__).parents[2]
PROGRAM = """
from pathlib import Path
from lightning_profile import LayerProfiler, Schedule
from tests.conftest import train

model, trainer = train(Path.cwd(), LayerProfiler("conv2", Schedule(wait=1)), max_epochs=2)
Path("ended").write_text(str(trainer.current_epoch))
"""


def test_the_training_goes_on_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, "utf-8")
    reads, writes = os.pipe()
    os.close(reads)
    try:
        finished = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=writes,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=300,
        )
    finally:
        os.close(writes)
    assert (tmp_path / "ended").read_text("utf-8") == "2", finished.stderr
    assert {row["epoch"] for row in read_csv(tmp_path)} == {"0", "1"}
