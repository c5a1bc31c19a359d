"""What the most important scalars are, and in which unit, for TensorBoard's info buttons."""

from __future__ import annotations

# Each is written once per tag: short, as a model may have thousands.
_DESCRIPTIONS = {
    "theoretical_flop": "FLOP per step, by pen and paper",
    "counted_flop": "FLOP per step, by formula over the operators that ran",
    "hardware_flop": "FLOP per step, counted by the GPU",
    "flop_ratio": "counted over theoretical FLOPs",
    "theoretical_allocated_bytes": "bytes per step, by pen and paper",
    "allocated_bytes": "bytes that the phase left allocated",
    "peak_allocated_bytes": "bytes, the most at one moment, workspace included",
    "allocated_ratio": "measured over theoretical allocated bytes",
    "cpu_time_ns": "ns per step inside the operators on the host",
    "device_time_ns": "ns per step of the kernels",
    "roofline_time_ns": "ns per step, the least that the device allows",
    "roofline_fraction": "roofline over measured time: 1 is as fast as can be",
    "flop_per_s": "FLOP/s: theoretical FLOPs over measured time",
    "flop_per_byte": "FLOP per byte of compulsory traffic",
}


def description_of(tag: str) -> str:
    """Of the quantity at the end of ``tag``; empty where its name says enough."""
    return _DESCRIPTIONS.get(tag.rpartition("/")[2], "")
