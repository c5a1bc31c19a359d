"""What ncu 2025.3.1 printed for Conv2d(32, 64, 3) on 128×32×26×26 inputs.

On an NVIDIA H100 in bf16 and fp16, on an H200 in fp32 and TF32.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from lightning_profile.counters.metrics import Metrics, choose_metrics
from lightning_profile.counters.reading import read_kernels
from lightning_profile.records import HardwareCount, HardwareKernel, Phase

DATA = Path(__file__).parent.parent / "data/ncu"
# Pen and paper: 2 · 128 · 64 · 24 · 24 · 32 · 3 · 3 for the forward, and for each gradient.
PRODUCT_FLOP = 2_717_908_992
OTHER_METRICS = "dram__bytes_read", "dram__bytes_write", "gpu__time_duration"


def printed(name: str) -> str:
    return gzip.decompress((DATA / f"{name}.csv.gz").read_bytes()).decode()


def h100_metrics() -> Metrics:
    names = (DATA / "metrics_h100.txt").read_text("utf-8").strip().split(",")
    return choose_metrics({name.removesuffix(".sum") for name in names} | set(OTHER_METRICS))


def count(name: str) -> HardwareCount:
    kernels = tuple(read_kernels(printed(name), h100_metrics()))
    phase = Phase.FORWARD if name.endswith("forward") else Phase.BACKWARD
    return HardwareCount(phase=phase, calls=1, kernels=kernels, cache_control="all")


def kernel(name: str, product_flop: int | None = 0, elementwise_flop: int = 0) -> HardwareKernel:
    return HardwareKernel(
        name=name,
        executed=(),
        product_flop=product_flop,
        elementwise_flop=elementwise_flop,
        dram_read_bytes=1,
        dram_write_bytes=2,
        time_ns=3,
    )


def count_of(*kernels: HardwareKernel) -> HardwareCount:
    return HardwareCount(phase=Phase.FORWARD, calls=1, kernels=kernels, cache_control="all")
