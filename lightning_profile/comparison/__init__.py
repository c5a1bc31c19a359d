"""Theory beside measurement.

rows makes one comparison per layer and phase, rest those of no layer, and phase_theory adds up
what they should cost; summary adds up calls and steps, memory says what was allocated for what,
notes why something is unknown, executed adds what the hardware counted, and limits what the
device's ceilings allow, by roofline.
"""

from lightning_profile.comparison.executed import with_hardware
from lightning_profile.comparison.limits import (
    Limits,
    exceed,
    product_kind,
    without_rooflines,
)
from lightning_profile.comparison.roofline import roofline
from lightning_profile.comparison.rows import compare
from lightning_profile.comparison.summary import steps_of_one_batch_size, sum_costs

__all__ = [
    "Limits",
    "compare",
    "exceed",
    "product_kind",
    "roofline",
    "steps_of_one_batch_size",
    "sum_costs",
    "with_hardware",
    "without_rooflines",
]
