"""The device that a measurement was taken on."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import torch

from lightning_profile.records import Device


def describe_device(device: torch.device) -> Device:
    """Name and kind of ``device``, and the CPU threads that operators may use."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return Device(name=name, type=device.type, threads=torch.get_num_threads())


@functools.cache  # the file has some lines for each processor
def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
