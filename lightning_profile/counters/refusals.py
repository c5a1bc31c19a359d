"""Why Nsight Compute refused, by what it printed; the remedies are those of its documentation.

https://developer.nvidia.com/ERR_NVGPUCTRPERM and the FAQ of the Kernel Profiling Guide,
https://docs.nvidia.com/nsight-compute/ProfilingGuide/index.html#faq
"""

from __future__ import annotations

import re

from lightning_profile.counters.processes import Finished
from lightning_profile.records import Unavailable, UnavailableCause

NO_TOOL = Unavailable(
    cause=UnavailableCause.NO_TOOL,
    reason="Nsight Compute's ncu was not found on the PATH, in $CUDA_HOME/bin, /usr/local/cuda/bin "
    "or /opt/nvidia/nsight-compute",
    remedy="install the CUDA toolkit or nsight-compute, and put ncu on the PATH",
)
NO_GPU = Unavailable(
    cause=UnavailableCause.UNSUPPORTED_DEVICE,
    reason="the layer does not run on an NVIDIA GPU",
    remedy="hardware counters are read from NVIDIA GPUs only",
)
NO_BACKWARD = Unavailable(
    cause=UnavailableCause.NO_BACKWARD,
    reason="no gradient reached the layer's output in the captured step",
)
NOT_KEPT = Unavailable(
    cause=UnavailableCause.NOT_CAPTURED,
    reason="the call of another layer that it was to be counted by could not be captured",
)
NO_METRICS = Unavailable(
    cause=UnavailableCause.UNKNOWN_METRIC,
    reason="ncu knows none of the needed metrics on this chip",
    remedy="install the version of Nsight Compute that supports the GPU",
)
_FORBIDDEN = Unavailable(
    cause=UnavailableCause.FORBIDDEN,
    reason="this user may not read the GPU's performance counters (ERR_NVGPUCTRPERM)",
    remedy="run as administrator, let one load the driver's module with "
    "NVreg_RestrictProfilingToAdminUsers=0, or start the container with --cap-add=SYS_ADMIN",
)
_TAKEN = Unavailable(
    cause=UnavailableCause.OTHER_PROFILER,
    reason="another tool has the GPU's performance counters",
    remedy="end the other profiler, or pause DCGM's metrics with dcgmi profile --pause",
)
_UNKNOWN_METRIC = Unavailable(
    cause=UnavailableCause.UNKNOWN_METRIC,
    reason="ncu does not know a metric on this chip",
    remedy="install the version of Nsight Compute that supports the GPU",
)
_UNSUPPORTED = Unavailable(
    cause=UnavailableCause.UNSUPPORTED_DEVICE,
    reason="ncu can't profile this GPU here",
    remedy="it needs Volta or newer, a driver as new as the tool, and no virtual GPU without "
    "profiling",
)
_BY_MESSAGE = (
    (r"ERR_NVGPUCTRPERM|permission to access NVIDIA GPU Performance Counters", _FORBIDDEN),
    (r"driver resource was unavailable|no other tool", _TAKEN),
    (r"Failed to find metric|Unknown metric", _UNKNOWN_METRIC),
    (r"not supported on (?:this )?device|unsupported GPU|not compatible with", _UNSUPPORTED),
)
_ERROR = re.compile(r"^==ERROR==\s*(?!The application returned)(.+)$", re.MULTILINE)


def nested_profiler(name: str) -> Unavailable:
    """The training itself runs under a profiler that counts."""
    return Unavailable(
        cause=UnavailableCause.OTHER_PROFILER,
        reason=f"the training was started by {name}, which has the counters",
        remedy="start the training without it",
    )


def time_is_up(time_limit_s: float) -> Unavailable:
    """The tool was ended, or the layer's turn never came."""
    return Unavailable(
        cause=UnavailableCause.TIME_LIMIT,
        reason=f"ncu did not get to it within {time_limit_s:g} s",
        remedy="allow more time, or choose fewer layers",
    )


def refusal(finished: Finished) -> Unavailable | None:
    """Why there are no counts for anything; ``None`` if the tool reports no error of its own.

    One of the replay is none: it has written down what it got to.
    """
    errors = _ERROR.findall(finished.output + finished.errors)
    for pattern, unavailable in _BY_MESSAGE:
        # Only in its own lines: a training may print anything.
        if any(re.search(pattern, line, re.IGNORECASE) for line in errors):
            return unavailable
    return tool_failed("; ".join(errors)) if errors else None


def tool_failed(message: str) -> Unavailable:
    """Something else went wrong with the tool."""
    return Unavailable(
        cause=UnavailableCause.TOOL_FAILED,
        reason=f"ncu failed: {message}",
        remedy="run ncu on a small CUDA program to see whether it works on this machine",
    )


def replay_ended(finished: Finished) -> Unavailable:
    """What becomes of parts that the replay, which ended early, did not get to."""
    return not_replayed(last_line(finished))


def not_replayed(error: str) -> Unavailable:
    """The replay of a call raised, or ended."""
    return Unavailable(
        cause=UnavailableCause.NOT_REPLAYED,
        reason=f"the call could not be repeated in another process: {error}",
        remedy="see that the layer can be pickled, imported and called by itself",
    )


def out_of_memory(error: str) -> Unavailable:
    """The replay had no room."""
    return Unavailable(
        cause=UnavailableCause.OUT_OF_MEMORY,
        reason=f"no memory for the replay: {error}",
        remedy="use a smaller batch, or leave room on the GPU beside the training",
    )


def last_line(finished: Finished) -> str:
    """The last thing that a program said before it ended."""
    printed = f"{finished.output}\n{finished.errors}"
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return lines[-1] if lines else f"it printed nothing and exited with {finished.exit_code}"
