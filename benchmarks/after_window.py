"""Does a training stay slower once a window is over? Steps before a process's first, and after it.

    python benchmarks/after_window.py
    python benchmarks/after_window.py --model resnet50 --steps 40 --batch_size 64

What torch.profiler switches on once may stay on, and then a bare epoch of the same process is no
measure. So here each training has a process of its own: bare epochs, one with the callback, bare
epochs again. The ratio of the median step after it to the median step before is what counts, beside
the same of a process without the callback, where it says how the machine drifted. On an NVIDIA GPU
a third way has TEARDOWN_CUPTI=0 in its environment, as a user may who wants CUDA's tracing library
to stay attached when a recording ends. The ways take turns; medians of the rounds, with their
quartiles.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes

import torch
from pytorch_lightning import Callback
from spread import describe, spread
from trainings import Clock, add_epoch_arguments, fit

from lightning_profile import LayerProfiler

NOTHING, CALLBACK, ATTACHED = "no callback", "callback", "callback, TEARDOWN_CUPTI=0"
_SETTING = {"TEARDOWN_CUPTI": "0"}
_EPOCHS = 3  # before and after


def steps_s(
    args: argparse.Namespace, epochs: int, callbacks: Sequence[Callback] = ()
) -> list[float]:
    """What each step of ``epochs`` took."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        fit(args, folder, [clock, *callbacks], epochs=epochs)
    return [step for epoch in clock.epochs for step in epoch.steps_s]


def train(way: str, args: argparse.Namespace) -> float:
    """After over before, in this process."""
    steps_s(args, 1)  # the first epoch of a process is slow
    before = steps_s(args, _EPOCHS)
    steps_s(args, 1, [] if way == NOTHING else [LayerProfiler(args.layers)])
    after = steps_s(args, _EPOCHS)
    return statistics.median(after) / statistics.median(before)


def in_own_process(way: str) -> float:
    """The same in a process of its own, with the arguments of this one."""
    environment = {name: value for name, value in os.environ.items() if name not in _SETTING}
    if way == ATTACHED:
        environment |= _SETTING
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
    done = subprocess.run(  # noqa: S603  (this program)
        command, env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the rounds, print the ratios, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_epoch_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    if args.way is not None:
        print(train(args.way, args))
        return
    ways = [NOTHING, CALLBACK] + ([ATTACHED] if args.device == "cuda" else [])
    ratios: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(args.rounds):
        for way in random.sample(ways, len(ways)):
            ratios[way].append(in_own_process(way))
            print(f"{number + 1}/{args.rounds} {way}: {ratios[way][-1]:.3f}", file=sys.stderr)
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "arguments": vars(args) | {"json": str(args.json)},
        "step_after_to_before": {way: spread(each) for way, each in ratios.items()},
    }
    print(f"{figures['device']}, {figures['threads']} threads, torch {figures['torch']}")
    for way, ratio in figures["step_after_to_before"].items():
        print(f"{way}: a step after to one before: {describe(ratio)}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
