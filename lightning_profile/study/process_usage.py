"""What the operating system did to this process: pages that it gave, and interruptions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counts since the process began; getrusage(2).

    Attributes:
        page_faults: Pages that the system has given without reading a file. Linux zeroes each.
            Where an allocator gives memory back at once, as glibc's does with blocks beyond 32 MiB
            (mallopt(3), M_MMAP_THRESHOLD), every allocation pays for all its pages anew.
        interruptions: How often a thread had to leave its CPU to another program, or to another
            thread of this one where there are more threads than CPUs.
    """

    page_faults: int
    interruptions: int


def usage() -> Usage | None:
    """The counts; ``None`` on Windows."""
    try:
        import resource  # noqa: PLC0415  (only Unix has it)
    except ImportError:
        return None
    found = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(page_faults=found.ru_minflt, interruptions=found.ru_nivcsw)
