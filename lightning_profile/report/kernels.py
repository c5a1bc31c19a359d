"""What kind of kernels a device spent its time in, in one sentence."""

from __future__ import annotations

from collections import defaultdict

from lightning_profile.records import Comparison


def kernel_line(comparison: Comparison) -> str:
    """Shares of a phase's device time by kind of kernel, the greatest first; empty without any."""
    measured = comparison.measured
    if measured is None or measured.on_device is None or comparison.phase is None:
        return ""
    shares: defaultdict[str, float] = defaultdict(float)
    for use in measured.on_device.kernels:
        shares[use.kind] += use.share
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    parts = ", ".join(f"{share:.0%} {kind}" for kind, share in ordered)
    return f"Of the {comparison.phase.value}'s device time: {parts}." if parts else ""
