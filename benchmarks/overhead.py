"""What does it cost to leave the profiler on? Epochs with and without it, in turn in one process.

    python benchmarks/overhead.py --model mnist --rounds 9
    python benchmarks/overhead.py --model resnet50 --steps 30 --rounds 5

Each round trains in every way below, in an order that is drawn anew, and takes the ratio of the
last epoch to the bare one of the same round; the medians of the ratios count, with their quartiles,
as absolute times depend on the machine. The ratio of the process's CPU time depends less on what
else runs there. Whole epochs scatter by more than the callback costs, so the window is measured by
itself, too: the steps from its warm-up to the one after it, less as many steps of the same epoch,
as a share of the epoch, in a training's first epoch and in its later ones; and all windows of a
training as a share of that, as epochs may go without one (the schedule's `max_share`). A bare epoch
is one of a process in which nothing is attached: what other profilers leave behind is let go of
before the next way has its turn. The images are on the device from the start. The JSON is written
anew after each round.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import logging
import os
import random
import sys
import tempfile
import timeit
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from spread import describe, spread
from torch.profiler import profile, schedule
from trainings import Clock, Epoch, add_epoch_arguments, fit, profiled_epochs

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.measurement import Window

BARE, OUTSIDE, WINDOW = "bare", "callback, outside its window", "callback, in its window"
DEEPSPEED = "DeepSpeed's flops profiler, every step"
WAYS = (
    BARE,
    OUTSIDE,
    WINDOW,
    "Lightning's PyTorchProfiler",
    "torch.profiler, every step",
    DEEPSPEED,
)
_LEAVES_NOTHING = (BARE, OUTSIDE, WINDOW, DEEPSPEED)


class EveryStep(Callback):
    """The obvious way: torch.profiler around every step, and its table read."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch it on, with what the study asks for."""
        self._profile = profile(
            record_shapes=True,
            with_flops=True,
            profile_memory=True,
            schedule=schedule(wait=0, warmup=0, active=1),
            on_trace_ready=lambda finished: finished.key_averages(),
        )
        self._profile.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        """One step is over."""
        self._profile.step()

    def on_train_end(self, *_: Any) -> None:
        """Switch it off."""
        self._profile.__exit__(None, None, None)


class DeepSpeedEveryStep(Callback):
    """DeepSpeed's profiler as its documentation has it, around every step."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make it."""
        from deepspeed.profiling.flops_profiler import FlopsProfiler  # noqa: PLC0415

        self._profiler = FlopsProfiler(pl_module)

    def on_train_batch_start(self, *_: Any) -> None:
        """Add its hooks."""
        self._profiler.start_profile()

    def on_train_batch_end(self, *_: Any) -> None:
        """Read what it counted, and take its hooks off."""
        self._profiler.stop_profile()
        self._profiler.get_total_flops()
        self._profiler.end_profile()


def train(way: str, args: argparse.Namespace, folder: str) -> tuple[list[Epoch], set[int]]:
    """A training in one way: its epochs, and the numbers of those with a window.

    The first of the callbacks holds the clock.
    """
    torch.manual_seed(1)
    clock = Clock()
    callbacks: list[Callback] = [clock]
    window: LayerProfiler | None = None
    if way == OUTSIDE:
        callbacks.append(LayerProfiler(args.layers, stages="validate"))
    elif way == WINDOW:
        window = LayerProfiler(args.layers, Schedule(**args.schedule))
        callbacks.append(window)
    elif way == "torch.profiler, every step":
        callbacks.append(EveryStep())
    elif way == DEEPSPEED:
        callbacks.append(DeepSpeedEveryStep())
    profiler = "pytorch" if way == "Lightning's PyTorchProfiler" else None
    fit(args, folder, callbacks, epochs=args.epochs, profiler=profiler)
    if way not in _LEAVES_NOTHING and args.device == "cuda":
        let_go()
    return clock.epochs, set() if window is None else profiled_epochs(window)


def let_go() -> None:
    """End a recording of nothing, which detaches what an earlier one left attached."""
    window = Window([], torch.device("cuda"))
    window.warm_up()
    window.close()


def share_of_windows(
    with_window: Sequence[Epoch], epochs: Sequence[Epoch], plan: Schedule
) -> float:
    """What all windows of a training took, over the rest of its epochs."""
    extra_s = sum(epoch.window_extra_s(plan) for epoch in with_window)
    return extra_s / (sum(epoch.seconds for epoch in epochs) - extra_s)


def step_cost_us() -> dict[str, dict[str, float]]:
    """Microseconds that the hooks of a step outside of the window take, against empty ones."""
    costs: dict[str, list[float]] = {"empty callback": [], "this callback": []}
    callbacks = {"empty callback": Callback(), "this callback": LayerProfiler()}
    nothing: Any = None
    for _ in range(15):
        for name, callback in callbacks.items():

            def hooks(callback: Callback = callback) -> None:
                callback.on_train_batch_start(nothing, nothing, nothing, 5)
                callback.on_before_backward(nothing, nothing, nothing)
                callback.on_train_batch_end(nothing, nothing, nothing, nothing, 5)

            costs[name].append(timeit.timeit(hooks, number=20_000) / 20_000 * 1e6)
    pairs = zip(costs["this callback"], costs["empty callback"], strict=True)
    costs["difference"] = [ours - empty for ours, empty in pairs]
    return {name: spread(values) for name, values in costs.items()}


def main() -> None:
    """Run the rounds, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_epoch_arguments(parser)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=2, help="of each training")
    parser.add_argument(
        "--schedule", type=json.loads, default={}, help='other than the default: {"active": 3}'
    )
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    os.environ.pop("TEARDOWN_CUPTI", None)  # what is let go of is the callback's choice here
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    has_deepspeed = importlib.util.find_spec("deepspeed") is not None
    ways = [way for way in args.ways if way != DEEPSPEED or has_deepspeed]
    plan = Schedule(**args.schedule)
    rounds: list[dict[str, dict[str, float]]] = []  # seconds of an epoch in each way
    # The window's, of an epoch; and those of all windows of a training.
    shares: dict[str, list[float]] = {"first epoch": [], "later epoch": [], "training": []}
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "arguments": vars(args) | {"json": str(args.json)},
        "not_installed": [way for way in args.ways if way not in ways],
        "step_outside_us": step_cost_us(),
    }
    quiet = contextlib.redirect_stdout(io.StringIO())  # each epoch has a table of its own
    with tempfile.TemporaryDirectory() as folder, quiet:
        first = argparse.Namespace(**(vars(args) | {"epochs": 1}))
        train(WINDOW, first, folder)  # the first of a process is slow
        for number in range(args.rounds):
            seconds: dict[str, dict[str, float]] = {}
            for way in random.sample(ways, len(ways)):
                epochs, profiled = train(way, args, folder)
                with_window = [epochs[number] for number in sorted(profiled)]
                last = (with_window or epochs)[-1]
                seconds[way] = {"wall": last.seconds, "cpu": last.cpu_seconds}
                if way == WINDOW:
                    shares["first epoch"].append(with_window[0].window_share(plan))
                    shares["later epoch"] += [each.window_share(plan) for each in with_window[1:]]
                    shares["training"].append(share_of_windows(with_window, epochs, plan))
                print(f"{number + 1}/{args.rounds} {way}: {last.seconds:.2f} s", file=sys.stderr)
            rounds.append(seconds)
            figures |= {
                "rounds": rounds,
                "bare_epoch_s": spread([each[BARE]["wall"] for each in rounds]),
                "ratio_to_bare": {way: _ratio(rounds, way, "wall") for way in ways},
                "ratio_of_cpu_time_to_bare": {way: _ratio(rounds, way, "cpu") for way in ways},
                "share_of_windows": {which: spread(each) for which, each in shares.items() if each},
            }
            if args.json:  # now, in case it is interrupted
                args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    _print(figures)


def _ratio(rounds: list[dict[str, dict[str, float]]], way: str, clock: str) -> dict[str, float]:
    return spread([each[way][clock] / each[BARE][clock] for each in rounds])


def _print(figures: dict[str, Any]) -> None:
    print(f"{figures['device']}, {figures['threads']} threads, torch {figures['torch']}")
    print(f"a bare epoch in s: {describe(figures['bare_epoch_s'])}")
    for way, ratio in figures["ratio_to_bare"].items():
        cpu = figures["ratio_of_cpu_time_to_bare"][way]
        print(f"{way}, to a bare epoch: {describe(ratio)}, in CPU time: {describe(cpu)}")
    for way in figures["not_installed"]:
        print(f"{way}: not installed")
    for which, share in figures["share_of_windows"].items():
        ratio = {name: 1 + value for name, value in share.items()}
        print(f"windows alone, to a bare {which}: {describe(ratio, 4)}")
    for name, cost in figures["step_outside_us"].items():
        print(f"a step's hooks, {name}, in µs: {describe(cost)}")


if __name__ == "__main__":
    main()
