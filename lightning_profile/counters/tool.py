"""Where Nsight Compute's command line is, and how it is called."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TOOL = "ncu"
CACHE_CONTROL = "all"  # the tool's default: caches are emptied before each kernel
_REPLAY = "lightning_profile.counters.replay"
_INSTALLATIONS = "/opt/nvidia/nsight-compute"  # one folder per version
_TOOLKIT = "/usr/local/cuda"
# What makes a child profile itself: set by Nsight's tools for what they start, and kineto's daemon.
_PROFILING = ("CUDA_INJECTION64_PATH", "NVTX_INJECTION64_PATH", "KINETO_USE_DAEMON")


def find_tool(environment: Mapping[str, str]) -> str | None:
    """Path of ``ncu``; ``None`` if it is neither on the path nor where it is installed."""
    on_path = shutil.which(TOOL, path=environment.get("PATH"))
    if on_path is not None:
        return on_path
    folders = [Path(environment.get("CUDA_HOME", _TOOLKIT)) / "bin", Path(_TOOLKIT) / "bin"]
    folders += sorted(Path(_INSTALLATIONS).glob("*"), key=_version, reverse=True)
    return next((found for folder in folders if (found := shutil.which(TOOL, path=folder))), None)


def query_command(tool: str) -> list[str]:
    """Print which metrics the chips of this machine have; takes about a second."""
    return [tool, "--query-metrics"]


def profile_command(tool: str, metrics: Sequence[str], folder: Path, deadline: float) -> list[str]:
    """Count ``metrics`` in the replay of the packages in ``folder``.

    Args:
        tool: From :func:`find_tool`.
        metrics: Full names.
        folder: Where the packages are.
        deadline: No part of the replay begins after it, in seconds since 1970.
    """
    return [
        tool,
        *("--metrics", ",".join(metrics)),
        *("--cache-control", CACHE_CONTROL),
        *("--clock-control", "none"),
        *("--profile-from-start", "off"),
        *("--target-processes", "application-only"),
        *("--csv", "--page", "raw", "--print-units", "base"),
        *(sys.executable, "-m", _REPLAY, str(folder), f"{deadline:.3f}"),
    ]


def tool_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the tool and the replay inherit: all but other profilers, and where to import from.

    The device keeps its number, as ``CUDA_VISIBLE_DEVICES`` stays what it is.
    """
    kept = {name: value for name, value in environment.items() if name not in _PROFILING}
    kept["PYTHONPATH"] = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    return kept


def other_profiler(environment: Mapping[str, str]) -> str | None:
    """The profiler that this process was started by, if any."""
    is_injected = environment.get("CUDA_INJECTION64_PATH")
    return "an Nsight tool" if is_injected else None


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.name.split(".") if part.isdigit())
