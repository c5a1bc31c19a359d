"""What keeps the windows of a training from costing it too much: of its time, and of memory."""

from lightning_profile.window_limits.thinning import OF_PROCESS, Thinning
from lightning_profile.window_limits.time_budget import TimeBudget

__all__ = ["OF_PROCESS", "Thinning", "TimeBudget"]
