"""What does importing the package add to the time that torch and Lightning take?

    python benchmarks/import_time.py

Each import runs in a fresh process, with Lightning's two packages in turn: first torch and
Lightning, then the package, whose own part is timed inside of the process. What it leaves to the
making of a LayerProfiler and to the start of a training is imported and timed after that.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

from spread import describe, spread

# The package takes pytorch_lightning where it is installed, so it is hidden from the other one.
LIGHTNINGS = {
    "pytorch_lightning": "import torch, pytorch_lightning",
    "lightning": "sys.modules['pytorch_lightning'] = None; import torch, lightning.pytorch",
}
PROGRAM = """
import json, sys, time
{before}
times = [time.perf_counter()]
import lightning_profile
times.append(time.perf_counter())
import lightning_profile.profiled_run
times.append(time.perf_counter())
print(json.dumps([(end - start) * 1e3 for start, end in zip(times, times[1:])]))
"""
PARTS = ("import", "start of a training")


def import_once(before: str) -> dict[str, float]:
    """Milliseconds of each part in a fresh process."""
    program = PROGRAM.format(before=before)
    done = subprocess.run(  # noqa: S603  (this file's own program)
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return dict(zip(PARTS, json.loads(done.stdout.splitlines()[-1]), strict=True))


def main() -> None:
    """Measure in turn, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    times: dict[str, list[dict[str, float]]] = {name: [] for name in LIGHTNINGS}
    for number in range(args.rounds + 1):
        for name, before in LIGHTNINGS.items():
            once = import_once(before)
            if number:  # the first round brings the files into memory, and compiles them
                times[name].append(once)
    figures = {
        "python": platform.python_version(),
        "rounds": args.rounds,
        "milliseconds": {
            name: {part: spread([each[part] for each in of_one]) for part in PARTS}
            for name, of_one in times.items()
        },
    }
    for name, parts in figures["milliseconds"].items():
        for part, quartiles in parts.items():
            print(f"beyond torch and {name}, {part}: {describe(quartiles, 1)} ms")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
