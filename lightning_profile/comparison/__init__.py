"""Theory beside measurement.

rows makes one comparison per layer and phase, summary adds up calls and steps, notes says why
something is unknown, and roofline what the device's ceilings allow.
"""

from lightning_profile.comparison.roofline import roofline
from lightning_profile.comparison.rows import compare
from lightning_profile.comparison.summary import steps_of_one_batch_size, sum_costs

__all__ = ["compare", "roofline", "steps_of_one_batch_size", "sum_costs"]
