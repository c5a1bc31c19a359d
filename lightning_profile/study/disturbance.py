"""Points at which the machine did other things, too: their times are not the training's alone."""

from __future__ import annotations

from lightning_profile.study.point import Point

OFTEN_PER_S = 50  # an idle machine has fewer than ten, a CPU that is shared hundreds


def is_disturbed(point: Point) -> bool:
    """Whether threads had to leave their CPU more than 50 times per second of a step.

    Args:
        point: Any; one whose interruptions or wall time are unknown is taken for undisturbed.
    """
    values = point.rows[0].values if point.rows else {}
    time_ns, count = values.get("wall_time_ns"), values.get("interruptions")
    if not time_ns or count is None:
        return False
    return count / (time_ns * 1e-9) > OFTEN_PER_S
