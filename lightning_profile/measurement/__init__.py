"""The running model: its calls, its recorded operators, and what it keeps in memory."""

from lightning_profile.measurement.footprint import measure_footprint
from lightning_profile.measurement.tensors import batch_size
from lightning_profile.measurement.window import Recording, Window

__all__ = ["Recording", "Window", "batch_size", "measure_footprint"]
