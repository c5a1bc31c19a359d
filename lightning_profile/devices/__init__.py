"""The device that a measurement was taken on."""

from lightning_profile.devices.describe import describe_device

__all__ = ["describe_device"]
