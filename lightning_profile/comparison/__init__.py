"""Theory beside measurement.

rows makes one comparison per layer and phase, summary adds up calls and steps, and notes says why
something is unknown.
"""

from lightning_profile.comparison.rows import compare
from lightning_profile.comparison.summary import steps_of_one_batch_size, sum_costs

__all__ = ["compare", "steps_of_one_batch_size", "sum_costs"]
