"""What a reader must know before comparing the points."""

from __future__ import annotations

from lightning_profile.study.analysis import Analysis
from lightning_profile.study.findings.words import listed, sizes

_OFTEN_PER_S = 50  # an idle machine has fewer than ten, a CPU that is shared hundreds


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
    interrupted = []
    for size, row in analysis.rows.get(analysis.step, {}).items():
        time_ns, count = row.values.get("wall_time_ns"), row.values.get("interruptions")
        if time_ns and count is not None and count / (time_ns * 1e-9) > _OFTEN_PER_S:
            interrupted.append(size)
    if not interrupted:
        return []
    return [
        f"At {sizes(interrupted)} a thread of the training had to leave its CPU, to other programs "
        f"or to another thread, more than {_OFTEN_PER_S} times per second: times there tell what "
        "else the machine did, too."
    ]


def failed_points(analysis: Analysis) -> list[str]:
    """Which points are missing because something else went wrong."""
    return [
        f"Batch size {point.batch_size} is missing: {point.message}."
        for point in analysis.points
        if point.status == "failed" and not point.is_trial
    ]
