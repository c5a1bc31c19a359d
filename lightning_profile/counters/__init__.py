"""FLOPs and DRAM traffic as the hardware counts them, with Nsight Compute.

``HardwareCounters`` captures live calls of layers in one step and replays them in a process of
its own, under ``ncu``; ``deviation_reason`` says why what was executed differs from theory.

capture, hooks, geometry, tensors, pickling, settings and package keep a call; repetition and
replay run it again; tool, processes and nsight_compute run ``ncu``; metrics, reading, products and
reasons understand what it says, refusals what it does not.
"""

from lightning_profile.counters.capture import CallCapture
from lightning_profile.counters.captured import CapturedCall, CapturedLayer
from lightning_profile.counters.hardware import HardwareCounters, LayerPhase
from lightning_profile.counters.reasons import deviation_reason, other_kernels

__all__ = [
    "CallCapture",
    "CapturedCall",
    "CapturedLayer",
    "HardwareCounters",
    "LayerPhase",
    "deviation_reason",
    "other_kernels",
]
