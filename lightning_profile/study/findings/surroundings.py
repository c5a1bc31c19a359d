"""What a reader must know before comparing the points."""

from __future__ import annotations

from lightning_profile.study.analysis import Analysis
from lightning_profile.study.disturbance import OFTEN_PER_S
from lightning_profile.study.findings.words import listed, sizes

_FEWEST = 2  # that a sentence about times compares


def several_devices(analysis: Analysis) -> list[str]:
    """Whether points of different devices stand beside each other."""
    devices: dict[str, list[int]] = {}
    for point in analysis.measured:
        if point.machine is not None:
            name = f"{point.machine.device} with {point.machine.threads} CPU threads"
            devices.setdefault(name, []).append(point.batch_size)
    if len(devices) < 2:
        return []
    parts = listed(f"{sizes(each)} on {name}" for name, each in devices.items())
    return [f"Not comparable: the points were measured on different devices, {parts}."]


def interruptions(analysis: Analysis) -> list[str]:
    """At which batch sizes CPUs were often taken away from the training."""
    disturbed = analysis.disturbed
    if not disturbed:
        return []
    left = len(analysis.batch_sizes) - len(disturbed)
    others = ", and the others are too few for any" if 0 < left < _FEWEST else ""
    return [
        f"At {sizes(disturbed)} a thread of the training had to leave its CPU, to other programs "
        f"or to another thread, more than {OFTEN_PER_S} times per second: times there tell what "
        f"else the machine did, too. No finding about times is drawn from them{others}."
    ]


def failed_points(analysis: Analysis) -> list[str]:
    """Which points are missing because something else went wrong."""
    return [
        f"Batch size {point.batch_size} is missing: {point.message}."
        for point in analysis.points
        if point.status == "failed" and not point.is_trial
    ]
