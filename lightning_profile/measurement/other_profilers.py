"""Other profilers in the process: torch has room for one, and the last to be prepared wins.

Two at once crash, lose all events, or one ends the other's session, depending on their phases and
on the version of torch. So a window is not opened while another profiler records, warms up or is
about to, and a window that has lost its session to another one leaves that one alone.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator
from typing import Any
from weakref import WeakSet

import torch
from torch._C._profiler import ActiveProfilerType
from torch.autograd import profiler as autograd_profiler
from torch.autograd.profiler import KinetoStepTracker
from torch.profiler import ProfilerAction, profile
from torch.profiler.profiler import PROFILER_STEP_NAME, _default_schedule_fn, _KinetoProfile

_NAMES = {
    ActiveProfilerType.NVTX: "torch.autograd.profiler.emit_nvtx",
    ActiveProfilerType.ITT: "torch.autograd.profiler.emit_itt",
    ActiveProfilerType.LEGACY: "torch.autograd.profiler.profile",
}
_TORCH = "torch.profiler"
_LIGHTNING = "Lightning's PyTorchProfiler"
_WINDOW = "another LayerProfiler (name all layers in one of them)"

open_windows: WeakSet[_KinetoProfile] = WeakSet()  # what records for them


class LostWindowError(RuntimeError):
    """Another profiler, which the message names, took the window's session."""

    def __init__(self, other: str) -> None:
        super().__init__(f"{other} was switched on inside of the window")


def is_profiler_running() -> bool:
    """Whether a torch profiler records on this thread, ours or another."""
    return bool(torch._C._autograd._profiler_enabled())


class OtherProfilers:
    """Looks for profilers that a window would disturb."""

    def __init__(self) -> None:
        self._steps_counted: dict[int, int] = {}  # by each profiler, when it was last looked at

    def in_the_way(self, window_steps: int, step_method: str) -> str | None:
        """Name of a profiler that records, or may do so before the window ends.

        Args:
            window_steps: Steps from now to the end of the window.
            step_method: The model's method that these steps call, such as ``training_step``.
        """
        if open_windows:
            return _WINDOW
        is_running = is_profiler_running()
        # torch counts the steps of each profiler that is alive: to look for them among all
        # objects takes 40 ms, so that is done only if there is one.
        if is_running or PROFILER_STEP_NAME in KinetoStepTracker._step_dict:
            for other in _instances(profile, gc.get_objects()):
                if _has_session(other) or (
                    _is_about_to_record(other, window_steps, step_method)
                    and not self._is_idle(other)
                ):
                    return _name(other)
        if is_running:
            return _NAMES.get(torch._C._autograd._profiler_type(), _TORCH)
        return None

    def _is_idle(self, other: profile) -> bool:
        """Whether it counted no step since the last look: left over from something earlier."""
        last = self._steps_counted.get(id(other))
        self._steps_counted[id(other)] = other.step_num
        return last == other.step_num


def session_of_another(own: profile | Any) -> str | None:
    """Name of a profiler whose session began after that of ``own``, and goes on.

    Only young objects are looked at: sessions are objects of their own.
    """
    for generation in (0, 1):
        for session in _instances(autograd_profiler.profile, gc.get_objects(generation)):
            if session is not own.profiler and session.entered and session.kineto_results is None:
                return _TORCH
    return None


def _instances(kind: type, objects: Collection[object]) -> Iterator[Any]:
    # Not `isinstance`, which asks proxies and lazily imported modules for their `__class__`. And by
    # identity, which takes two thirds of `issubclass`, and asks no metaclass anything.
    for known in _with_subclasses(kind):
        yield from [each for each in objects if type(each) is known]


def _with_subclasses(kind: type) -> list[type]:
    derived: list[type] = kind.__subclasses__()
    return [kind, *(each for direct in derived for each in _with_subclasses(direct))]


def _has_session(other: profile) -> bool:
    """Whether it warms up or records."""
    session: Any = other.profiler
    return session is not None and session.kineto_results is None


def _is_about_to_record(other: profile, window_steps: int, step_method: str) -> bool:
    schedule: Any = other.schedule
    done = other.step_num
    if schedule is _default_schedule_fn:  # records from its start to its end
        return other.profiler is None
    if type(schedule).__name__ == "ScheduleWrapper":  # Lightning's: one cycle for each stage
        if getattr(schedule, f"_{step_method}_reached_end", False):
            return False
        done = getattr(schedule, f"_num_{step_method}", done)
        schedule = getattr(schedule, "_schedule", schedule)
    if getattr(schedule, "__module__", None) != profile.__module__:
        return True  # someone's own: to call it might change what it will say
    # Its own step may be counted before the window's last one is over.
    ahead = range(done, done + window_steps + 1)
    return any(schedule(step) is not ProfilerAction.NONE for step in ahead)


def _name(other: profile) -> str:
    is_lightnings = type(other.schedule).__name__ == "ScheduleWrapper"
    return _LIGHTNING if is_lightnings else _TORCH
