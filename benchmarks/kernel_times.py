"""Kernel by kernel: the device time by torch.profiler beside that by Nsight Compute.

    python benchmarks/kernel_times.py --precision bf16-mixed --cache_control all

In one training of the MNIST CNN: the callback's window has torch.profiler's times, its counters
have ncu's, of the same layers one step earlier. Needs an NVIDIA GPU and ncu.
"""

from __future__ import annotations

import argparse
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes

import torch
from one_window import record_window

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.counters import tool
from lightning_profile.mnist import MnistClassifier

SHORTEST_NS = 20_000  # of kernels that are compared; launching and stopping are in shorter ones


class Times(NamedTuple):
    """Of the kernels of one name in a row."""

    launches: int
    time_ns: int


def window_of(batch_size: int, steps: int, precision: str) -> dict[str, Any]:
    """The recorded window, as in layer_profile.jsonl."""
    images = torch.randn(batch_size, 1, 28, 28, device="cuda")
    labels = torch.randint(10, (batch_size,), device="cuda")
    schedule = Schedule(wait=20, active=steps)
    profiler = LayerProfiler(schedule=schedule, counters="ncu")
    return record_window(MnistClassifier(), (images, labels), profiler, schedule, precision)


def by_name(kernels: Iterable[tuple[str, int, int]]) -> dict[str, Times]:
    """Summed by the function's name: both tools write template arguments in ways of their own."""
    totals: dict[str, Times] = defaultdict(lambda: Times(0, 0))
    for name, count, time_ns in kernels:
        function = re.split(r"[<(]", name.removeprefix("void "))[0]
        function = function.rpartition("::")[2]
        so_far = totals[function]
        totals[function] = Times(so_far.launches + count, so_far.time_ns + time_ns)
    return dict(totals)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--cache_control", choices=["all", "none"], default="all")
    args = parser.parse_args()
    tool.CACHE_CONTROL = args.cache_control
    window = window_of(args.batch_size, args.steps, args.precision)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {args.precision}, batch "
        f"{args.batch_size}, caches before a kernel: {args.cache_control}\n\n"
        "| layer | phase | kernel | torch.profiler | ncu | ncu ÷ torch.profiler |\n"
        "|---|---|---|---|---|---|"
    )
    for counted in window["hardware"]:
        if "kernels" not in counted["count"]:
            print(f"| {counted['layer']} | {counted['phase']} | {counted['count']['reason']} |")
            continue
        ncu = by_name((each["name"], 1, each["time_ns"]) for each in counted["count"]["kernels"])
        rows = [
            row
            for row in window["steps"]
            if (row["layer"], row["phase"]) == (counted["layer"], counted["phase"])
        ]
        uses = [use for row in rows for use in row["on_device"]["kernels"]]
        profiler = by_name((use["name"], use["count"], use["device_time_ns"]) for use in uses)
        for name in sorted(set(ncu) & set(profiler)):
            by_ncu = ncu[name].time_ns / ncu[name].launches
            by_profiler = profiler[name].time_ns / profiler[name].launches
            if min(by_ncu, by_profiler) >= SHORTEST_NS:
                print(
                    f"| {counted['layer']} | {counted['phase']} | {name[:60]} | "
                    f"{by_profiler / 1e3:.1f} µs | {by_ncu / 1e3:.1f} µs | "
                    f"{by_ncu / by_profiler:.3f} |"
                )


if __name__ == "__main__":
    main()
