"""What can be asked of ``LayerProfiler`` beside its layers, and what is refused."""

from __future__ import annotations

from lightning_profile.quoting import quoted
from lightning_profile.schedule import Schedule

TRAIN, VALIDATE = "train", "validate"
_COUNTERS = "ncu"


def check_schedule(schedule: object) -> Schedule:
    """``schedule``, or the default for ``None``.

    Raises:
        TypeError: If it is something else.
    """
    if schedule is None:
        return Schedule()
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"schedule must be a Schedule, such as Schedule(wait=10), not {quoted(schedule)}"
        )
    return schedule


def check_switch(name: str, value: object) -> bool:
    """``value``.

    Raises:
        TypeError: If it is neither ``True`` nor ``False``: a file's name would count as ``True``.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {quoted(value)}")
    return value


def list_stages(stages: object) -> list[str]:
    """One or several of ``train`` and ``validate``, as a list.

    Raises:
        ValueError: If there is none, or another one.
    """
    names = list(stages) if isinstance(stages, (list, tuple, set, frozenset)) else [stages]
    known = [name for name in names if isinstance(name, str) and name in (TRAIN, VALIDATE)]
    if not known or len(known) < len(names):
        wrong = next((name for name in names if name not in known), stages)
        raise ValueError(f"stages are {TRAIN!r} and {VALIDATE!r}, not {quoted(wrong)}")
    return known


def wants_counters(counters: object) -> bool:
    """Whether the hardware is to count.

    Raises:
        ValueError: If ``counters`` is neither ``ncu`` nor ``None``.
    """
    if counters is not None and counters != _COUNTERS:
        raise ValueError(f"counters must be {_COUNTERS!r} or None, not {quoted(counters)}")
    return counters is not None
