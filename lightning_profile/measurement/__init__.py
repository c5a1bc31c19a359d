"""The running model: its calls, its recorded operators, and what it keeps in memory."""

from lightning_profile.measurement.allocator import allocator_settings
from lightning_profile.measurement.chrome_trace import ChromeTrace
from lightning_profile.measurement.compiled import InferredCalls, infer_calls
from lightning_profile.measurement.cupti import detaches_cupti
from lightning_profile.measurement.footprint import measure_footprint
from lightning_profile.measurement.invocations import Invocation, invocation
from lightning_profile.measurement.nvtx import LayerRanges, has_nvtx
from lightning_profile.measurement.other_profilers import (
    LostWindowError,
    OtherProfilers,
    is_profiler_running,
)
from lightning_profile.measurement.tensors import batch_size
from lightning_profile.measurement.window import Recording, Window

__all__ = [
    "ChromeTrace",
    "InferredCalls",
    "Invocation",
    "LayerRanges",
    "LostWindowError",
    "OtherProfilers",
    "Recording",
    "Window",
    "allocator_settings",
    "batch_size",
    "detaches_cupti",
    "has_nvtx",
    "infer_calls",
    "invocation",
    "is_profiler_running",
    "measure_footprint",
]
