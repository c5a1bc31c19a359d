"""What does it take to read a window? Many layers against one, and many steps against few.

    python benchmarks/reading.py layers
    python benchmarks/reading.py steps
    python benchmarks/reading.py figures
    python benchmarks/reading.py trace

Reading is everything from the stop of the profiler to the finished result and the written report:
the ``on_train_batch_end`` that closes a window of a real training. ``layers`` trains torchvision's
ResNet-50 on small images with callbacks that watch one layer, every leaf, and everything, and open
their windows in turn within each epoch, in each of the six orders once in six rounds; the ratio to
the window of one layer in the same epoch is what counts. ``steps`` trains the MNIST CNN with
windows of 1 to 64 steps, in an order that is drawn anew each round. ``figures`` trains ResNet-50
with callbacks that watch every leaf, with the pictures in TensorBoard and without, in turn within
each epoch; each epoch begins when the pictures of the last one are drawn, as in a training of long
epochs. ``trace`` does likewise with ``--model`` and with callbacks that write the trace of each
window and that don't. The first window of a training does work that no later one does (the charts'
layout, the derivations), so it is shown by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes

import torch
from spread import describe, spread
from stopwatch import Pieces, Stopwatch, Times
from trainings import MODELS, fit

from lightning_profile import LayerProfiler, Schedule, pipeline
from lightning_profile.measurement import cupti, window
from lightning_profile.report import RunReport, pictures
from lightning_profile.selection import select_layers

WARMUP = 0
_PICTURES = 3  # of a window
ONE, LEAVES, EVERYTHING = "one layer", "every leaf", "everything"
PIECES: Pieces = {
    "stop": (window.Window, "_end"),
    "operators": (window, "read_ops"),
    "wait": (cupti.CuptiRelease, "wait"),  # for CUPTI's end
    "theory": (pipeline.theory.KnownTheory, "cost_calls"),
    "attribution": (pipeline, "attribute"),
    "comparison": (pipeline, "compare"),
    "write": (RunReport, "write"),
}
REST = "rest"  # derivations, footprints, and giving back the memory of the recording
READ, TOTAL = "all but write", "total"
COLUMNS = (*PIECES, REST, READ, TOTAL)


class TimedProfiler(LayerProfiler):
    """Notes what reading each window took."""

    def __init__(
        self, stopwatch: Stopwatch, layers: Any, schedule: Schedule, **options: bool
    ) -> None:
        every_epoch = replace(schedule, max_share=None)
        super().__init__(layers, every_epoch, **{"figures": False, **options})
        self.windows: list[Times] = []
        self._stopwatch = stopwatch

    def on_train_epoch_start(self, *args: Any) -> None:
        """Let the process that draws come to an end with the windows so far."""
        wanted = _PICTURES * len(self.windows) if self._has_figures else 0
        while self.folder is not None and len(list(self.folder.rglob("*.png"))) < wanted:
            time.sleep(0.05)
        super().on_train_epoch_start(*args)

    def on_train_batch_end(self, *args: Any) -> None:
        """Take the time of the call that writes a window; the device has finished the step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times = self._stopwatch.times
        times.clear()
        start = time.perf_counter()
        super().on_train_batch_end(*args)
        total = (time.perf_counter() - start) * 1e3
        if "write" in times:
            rest = total - sum(times.values())
            read = total - times["write"]
            self.windows.append({**times, REST: rest, READ: read, TOTAL: total})


def train(model: str, callbacks: Sequence[TimedProfiler], args: argparse.Namespace) -> None:
    """As many epochs as there are windows to time, of as many steps as the schedules need."""
    steps = max(callback.schedule.steps for callback in callbacks) + 1
    what = argparse.Namespace(
        model=model, device=args.device, steps=steps, batch_size=args.batch_size
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        fit(what, folder, callbacks, epochs=args.windows)


def layers(stopwatch: Stopwatch, args: argparse.Namespace) -> dict[str, Any]:
    """One window of one step for each choice of layers in each epoch."""
    everything = select_layers(MODELS["resnet50"](), "all").watched
    leaves = [layer.qualified_name for layer in everything if not layer.is_container]
    choices = {ONE: "net.layer2.0.conv2", LEAVES: leaves, EVERYTHING: "all"}
    windows: dict[str, list[list[Times]]] = {choice: [] for choice in choices}
    orders = list(itertools.permutations(choices))
    random.shuffle(orders)
    for number in range(args.rounds):
        callbacks = {
            choice: TimedProfiler(
                stopwatch, choices[choice], Schedule(wait=1 + 3 * turn, warmup=WARMUP)
            )
            for turn, choice in enumerate(orders[number % len(orders)])
        }
        train("resnet50", list(callbacks.values()), args)
        for choice, callback in callbacks.items():
            windows[choice].append(callback.windows)
        _progress(f"round {number + 1} of {args.rounds}")
    return {
        "layers": {LEAVES: len(leaves), EVERYTHING: len(everything)},
        "windows": {
            choice: {
                "first": _pieces([times[0] for times in rounds]),
                "later": _pieces([each for times in rounds for each in times[1:]]),
            }
            for choice, rounds in windows.items()
        },
        "ratio_to_one_layer": {
            f"{choice}, {kind}, {column}": spread(_ratios(rounds, windows[ONE], which, column))
            for choice, rounds in windows.items()
            for kind, which in (("first", slice(1)), ("later", slice(1, None)))
            for column in (READ, TOTAL)
            if choice != ONE
        },
    }


def figures(stopwatch: Stopwatch, args: argparse.Namespace) -> dict[str, Any]:
    """One window of one step with pictures and one without in each epoch."""
    pictures._INTERVAL_S = 0.0  # an epoch waits for them, instead of being long
    return _with_and_without("figures", "resnet50", stopwatch, args)


def trace(stopwatch: Stopwatch, args: argparse.Namespace) -> dict[str, Any]:
    """One window of one step whose trace is written and one without in each epoch."""
    return _with_and_without("trace", args.model, stopwatch, args)


def _with_and_without(
    option: str, model: str, stopwatch: Stopwatch, args: argparse.Namespace
) -> dict[str, Any]:
    """One window of one step with ``option`` and one without in each epoch, of every leaf."""
    everything = select_layers(MODELS[model](), "all").watched
    leaves = [layer.qualified_name for layer in everything if not layer.is_container]
    windows: dict[str, list[Times]] = {"without": [], "with": []}
    for number in range(args.rounds):
        order = list(windows) if number % 2 else list(windows)[::-1]
        callbacks = {
            choice: TimedProfiler(
                stopwatch,
                leaves,
                Schedule(wait=1 + 3 * turn, warmup=WARMUP),
                **{option: choice == "with"},
            )
            for turn, choice in enumerate(order)
        }
        train(model, list(callbacks.values()), args)
        for choice, callback in callbacks.items():
            windows[choice] += callback.windows[2:]  # the first starts what draws, and adds none
        _progress(f"round {number + 1} of {args.rounds}")
    pairs = list(zip(windows["with"], windows["without"], strict=True))
    return {
        "windows": {f"{name} {option}": {"later": _pieces(w)} for name, w in windows.items()},
        "write_more_ms": spread([a["write"] - b["write"] for a, b in pairs]),
        "ratio_to_one_layer": {
            f"with {option}, {column}": spread([a[column] / b[column] for a, b in pairs])
            for column in ("write", TOTAL)
        },
    }


def _ratios(
    many: Sequence[Sequence[Times]],
    one: Sequence[Sequence[Times]],
    which: slice,
    column: str,
) -> list[float]:
    """Of the windows of one epoch."""
    return [
        a[column] / b[column]
        for windows, others in zip(many, one, strict=True)
        for a, b in zip(windows[which], others[which], strict=True)
    ]


def steps(stopwatch: Stopwatch, args: argparse.Namespace) -> dict[str, Any]:
    """Windows of 1, 2, 4 … steps; a training for each size in each round."""
    sizes = [2**power for power in range(args.most.bit_length())]
    windows: dict[int, list[Times]] = {size: [] for size in sizes}
    for number in range(args.rounds):
        for size in random.sample(sizes, len(sizes)):
            profiler = TimedProfiler(
                stopwatch, "Conv2d-2", Schedule(wait=1, warmup=WARMUP, active=size)
            )
            train("mnist", [profiler], args)
            windows[size] += profiler.windows[1:]
        _progress(f"round {number + 1} of {args.rounds}")
    medians = {size: statistics.median(each[TOTAL] for each in windows[size]) for size in sizes}
    slope, intercept = statistics.linear_regression(sizes, list(medians.values()))
    growth = {
        f"{size} against 8": [
            (a[TOTAL] / size) / (b[TOTAL] / 8)
            for a, b in zip(windows[size], windows[8], strict=True)
        ]
        for size in sizes
        if size > 8
    }
    return {
        "windows": {str(size): {"later": _pieces(windows[size])} for size in sizes},
        "fit": {"ms_per_step": slope, "ms_per_window": intercept},
        "farthest_from_fit": max(
            abs(medians[size] / (slope * size + intercept) - 1) for size in sizes
        ),
        "ratio_of_time_per_step": {name: spread(values) for name, values in growth.items()},
    }


def _pieces(windows: Sequence[Times]) -> dict[str, dict[str, float]]:
    """Spread of each piece."""
    return {column: spread([times[column] for times in windows]) for column in COLUMNS}


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = {each.__name__: each for each in (layers, steps, figures, trace)}
    parser.add_argument("what", choices=what)
    parser.add_argument("--model", choices=MODELS, default="resnet50", help="for trace")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch_size", type=int, default=4, help="reading doesn't depend on it")
    parser.add_argument("--rounds", type=int, default=6, help="trainings")
    parser.add_argument("--windows", type=int, default=8, help="windows of each training")
    parser.add_argument("--most", type=int, default=64, help="steps of the longest window")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    measured = what[args.what](Stopwatch(PIECES), args)
    report = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "arguments": vars(args) | {"json": str(args.json)},
        **measured,
    }
    _print(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def _print(figures: Mapping[str, Any]) -> None:
    print(f"{figures['device']}, {figures['threads']} threads, torch {figures['torch']}")
    if "layers" in figures:
        print(", ".join(f"{name}: {count} layers" for name, count in figures["layers"].items()))
    print(f"{'medians in ms':20}" + "".join(f"{column:>14}" for column in COLUMNS))
    for name, kinds in figures["windows"].items():
        for kind, pieces in kinds.items():
            cells = "".join(f"{pieces[column]['median']:14.2f}" for column in COLUMNS)
            print(f"{name + ', ' + kind:20}{cells}")
    for name, ratio in figures.get("ratio_to_one_layer", {}).items():
        print(f"{name}, to {'none' if 'with' in name else 'one layer'}: {describe(ratio)}")
    if "write_more_ms" in figures:
        print(f"more to write, ms per window: {describe(figures['write_more_ms'])}")
    for name, ratio in figures.get("ratio_of_time_per_step", {}).items():
        print(f"time per step, {name} steps: {describe(ratio)}")
    if "fit" in figures:
        print(
            f"fit: {figures['fit']['ms_per_window']:.2f} ms + "
            f"{figures['fit']['ms_per_step']:.2f} ms per step, no median farther from it than "
            f"{figures['farthest_from_fit']:.1%}"
        )


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
