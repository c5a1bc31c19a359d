"""The device: what it is, what it can do at best, and what arithmetic it computes in."""

from lightning_profile.devices.describe import describe_device
from lightning_profile.devices.lookup import find_card, vendor_ceilings
from lightning_profile.devices.maths import Product, arithmetic_kind, read_maths_mode

__all__ = [
    "Product",
    "arithmetic_kind",
    "describe_device",
    "find_card",
    "read_maths_mode",
    "vendor_ceilings",
]
