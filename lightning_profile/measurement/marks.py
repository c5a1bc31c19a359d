"""The marks of steps in a recording: when each began, and when it ended.

Not ranges: another profiler may take the session before a range's end, and in torch 2.11 (not in
2.14) to close a range in a session that it wasn't opened in ends the process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_profile.measurement.other_profilers import LostWindowError
from lightning_profile.measurement.ranges import recorded_range

STEP_MARK = "lightning_profile.step "  # followed by the training batch's number
STEP_BEGINS, STEP_ENDS = " begins", " ends"


@dataclass(slots=True)
class MarkedStep:
    """A step as it was marked.

    Attributes:
        number: The training batch's.
        start_ns: When it began.
        end_ns: When it had ended.
        thread: The one that Lightning's loop runs on, known once the mark is read in the tree.
        position: Of the operator that stands for all of it; likewise.
    """

    number: int
    start_ns: int
    end_ns: int
    thread: int | None = None
    position: int | None = None


def mark_begin(step: int) -> None:
    """Mark the moment at which the training batch ``step`` begins."""
    _mark(f"{STEP_MARK}{step}{STEP_BEGINS}")


def mark_end(step: int) -> None:
    """Mark the moment at which the training batch ``step`` has ended."""
    _mark(f"{STEP_MARK}{step}{STEP_ENDS}")


def marked_steps(events: Mapping[tuple[str, int], Any], names: Collection[str]) -> list[MarkedStep]:
    """Every marked step, in order.

    Args:
        events: The host's flat events, by name and number.
        names: Theirs.

    Raises:
        LostWindowError: If a mark is missing, so that what is read is not the window's.
    """
    marks = {name for name in names if name.startswith(STEP_MARK)}
    begins: dict[int, int] = {}  # nanoseconds, by step
    ends: dict[int, int] = {}
    for (name, _), event in events.items():
        if name in marks:
            mark = name.removeprefix(STEP_MARK)
            if mark.endswith(STEP_BEGINS):
                begins[int(mark.removesuffix(STEP_BEGINS))] = event.start_ns()
            else:
                ends[int(mark.removesuffix(STEP_ENDS))] = event.end_ns()
    if not begins or begins.keys() != ends.keys():
        raise LostWindowError("another profiler")
    steps = [MarkedStep(number, start_ns, ends[number]) for number, start_ns in begins.items()]
    return sorted(steps, key=lambda step: step.start_ns)


def _mark(name: str) -> None:
    with recorded_range(name):
        pass
