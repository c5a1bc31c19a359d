"""The device: what it is, and what its vendor says it can do at best."""

from lightning_profile.devices.describe import describe_device
from lightning_profile.devices.lookup import find_card, vendor_ceilings

__all__ = ["describe_device", "find_card", "vendor_ceilings"]
