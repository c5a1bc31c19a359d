"""The memory of a whole training: its peak, and what the device has."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

_RESET_PEAK = "5"  # of the resident set; proc_pid_clear_refs(5)


def reset_peaks(device: torch.device) -> None:
    """Let the peaks begin here. The training is the study's own, so these counters are too."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:  # not Linux
        return


def peaks(device: torch.device) -> dict[str, int]:
    """Peaks since :func:`reset_peaks`, in bytes, by name; what can't be known is left out.

    ``peak_allocated_bytes`` and ``peak_reserved_bytes`` of a GPU are those of torch's caching
    allocator; ``peak_resident_bytes`` is the physical memory of the process, Linux's ``VmHWM``.
    """
    if device.type == "cuda":
        return {
            "peak_allocated_bytes": torch.cuda.max_memory_allocated(device),
            "peak_reserved_bytes": torch.cuda.max_memory_reserved(device),
        }
    resident_bytes = _kib(Path("/proc/self/status"), "VmHWM")
    return {} if resident_bytes is None else {"peak_resident_bytes": resident_bytes}


def capacity_bytes(device: torch.device) -> int | None:
    """Memory that this process can have of ``device``, what it holds now included.

    Of a GPU: what is free and what the allocator holds. Of a host: what Linux says is available
    and what the process holds, or what a container or the process is limited to if that is less.
    """
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        return free_bytes + torch.cuda.memory_reserved(device)
    if device.type != "cpu":
        return None
    available_bytes = _kib(Path("/proc/meminfo"), "MemAvailable")
    resident_bytes = _kib(Path("/proc/self/status"), "VmRSS")
    if available_bytes is None or resident_bytes is None:
        return None
    limits = [available_bytes + resident_bytes, _container_limit_bytes(), _own_limit_bytes()]
    return min(limit for limit in limits if limit is not None)


def limit_to_capacity() -> None:
    """Let an allocation beyond what the host has fail, rather than Linux end some process.

    For a process of its own: it holds until the process ends. Linux promises more memory than it
    has and, once it is touched, kills. Counted are private writable pages, touched or not.
    """
    capacity = capacity_bytes(torch.device("cpu"))
    if capacity is None:
        return
    import resource  # noqa: PLC0415  (only Unix has it)

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (capacity, hard))  # at most the soft limit so far


def _kib(path: Path, name: str) -> int | None:
    """A line such as ``VmHWM:   123 kB``, which means KiB, in bytes."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


def _own_limit_bytes() -> int | None:
    """What ``ulimit -d`` allows this process; ``None`` for no limit."""
    import resource  # noqa: PLC0415  (only Unix has it)

    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else soft


def _container_limit_bytes() -> int | None:
    """The memory limit of the control group; ``None`` if there is none, or it can't be read."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        return limit if limit < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") else None
    return None
