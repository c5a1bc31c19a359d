"""The running model: its calls, its recorded operators, and what it keeps in memory."""

from lightning_profile.measurement.footprint import measure_footprint
from lightning_profile.measurement.tensors import batch_size
from lightning_profile.measurement.window import Recording, Window, is_profiler_running

__all__ = ["Recording", "Window", "batch_size", "is_profiler_running", "measure_footprint"]
