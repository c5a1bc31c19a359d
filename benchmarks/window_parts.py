"""What does one window consist of? How much of it is torch.profiler's, how much is ours?

    python benchmarks/window_parts.py
    python benchmarks/window_parts.py --model resnet50 --steps 40 --batch_size 64 --layers all

Trains for some epochs with the default schedule and takes the time of each part of every window but
the first. The whole is what the steps from the window's to the one after it take beyond as many
others of the same epoch; what no part explains is mostly the recorded step's, which torch.profiler
and the hooks slow. Medians in milliseconds, with their quartiles, and as a share of the rest of the
epoch.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes

import torch
from pytorch_lightning import LightningModule, Trainer
from spread import describe, spread
from stopwatch import Pieces, Stopwatch, Times
from trainings import Clock, add_epoch_arguments, fit

from lightning_profile import LayerProfiler, Schedule, pipeline, stage_recorder
from lightning_profile.measurement import cupti, window
from lightning_profile.report import RunReport

PROFILERS: Pieces = {
    "start": (window.Window, "warm_up"),
    "stop": (window.Window, "_end"),
    "wait for CUPTI's end": (cupti.CuptiRelease, "wait"),
}
OURS: Pieces = {
    "read the operators": (window, "read_ops"),
    "give back its memory": (stage_recorder.StageRecorder, "close"),
    "analyse": (pipeline.Analyst, "analyse"),
    "write": (RunReport, "write"),
}
STEP, WHOLE = "the recorded step, and the rest", "the whole window"


class TimedProfiler(LayerProfiler):
    """Notes the parts of each window."""

    def __init__(self, layers: list[str]) -> None:
        super().__init__(layers, Schedule(max_share=None))
        self.windows: list[Times] = []
        self._stopwatch = Stopwatch({**PROFILERS, **OURS})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch's window is over."""
        super().on_train_epoch_end(trainer, pl_module)
        self.windows.append(dict(self._stopwatch.times))
        self._stopwatch.times.clear()


def train(args: argparse.Namespace) -> tuple[list[Times], list[Times]]:
    """The parts of each window but the first, in milliseconds and as shares of the epoch."""
    clock, profiler = Clock(), TimedProfiler(args.layers)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        fit(args, folder, [clock, profiler], epochs=args.epochs + 1)
    windows, shares = [], []
    for epoch, parts in list(zip(clock.epochs, profiler.windows, strict=True))[1:]:
        extra_ms = epoch.window_extra_s(profiler.schedule) * 1e3
        times = {**parts, STEP: extra_ms - sum(parts.values()), WHOLE: extra_ms}
        windows.append(times)
        shares.append({part: ms / (epoch.seconds * 1e3 - extra_ms) for part, ms in times.items()})
    return windows, shares


def main() -> None:
    """Train, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_epoch_arguments(parser)
    parser.add_argument("--epochs", type=int, default=9, help="whose windows are looked at")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    windows, shares = train(args)
    parts = [
        part for part in (*PROFILERS, STEP, *OURS, WHOLE) if any(part in times for times in windows)
    ]
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "arguments": vars(args) | {"json": str(args.json)},
        "ms": {part: spread([times.get(part, 0.0) for times in windows]) for part in parts},
        "share_of_epoch": {
            part: spread([each.get(part, 0.0) for each in shares]) for part in parts
        },
    }
    print(f"{figures['device']}, {figures['threads']} threads, torch {figures['torch']}")
    for part in parts:
        share = figures["share_of_epoch"][part]["median"]
        print(f"{part}, in ms: {describe(figures['ms'][part], 1)}, {share:.2%} of the epoch")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
