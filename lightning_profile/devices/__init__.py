"""The device: what it is, what it can do at best, and what arithmetic it computes in.

describe names it. card, peaks and lookup are the vendor's figures; ceilings measures what it
reaches, by a stopwatch over cuda_memory, and cache keeps that. precision and maths say which of the
figures a product is to be held against.
"""

from lightning_profile.devices.cache import forget_ceilings, measured_ceilings
from lightning_profile.devices.card import Card
from lightning_profile.devices.ceilings import measure_ceilings
from lightning_profile.devices.describe import describe_device
from lightning_profile.devices.lookup import find_card, vendor_ceilings
from lightning_profile.devices.maths import (
    Product,
    arithmetic_kind,
    cuda_maths_mode,
    read_maths_mode,
)
from lightning_profile.devices.peaks import CARDS

__all__ = [
    "CARDS",
    "Card",
    "Product",
    "arithmetic_kind",
    "cuda_maths_mode",
    "describe_device",
    "find_card",
    "forget_ceilings",
    "measure_ceilings",
    "measured_ceilings",
    "read_maths_mode",
    "vendor_ceilings",
]
