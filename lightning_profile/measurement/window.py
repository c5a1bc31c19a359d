"""One window: torch.profiler and the call hooks, from warm-up to the finished recording."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import profiler as autograd_profiler
from torch.profiler import ProfilerActivity
from torch.profiler.profiler import _KinetoProfile

from lightning_profile.measurement.calls import CallRecorder
from lightning_profile.measurement.chrome_trace import ChromeTrace
from lightning_profile.measurement.cupti import CuptiRelease
from lightning_profile.measurement.graph import backward_graph
from lightning_profile.measurement.invocations import Invocation
from lightning_profile.measurement.marks import mark_begin, mark_end
from lightning_profile.measurement.other_profilers import (
    LostWindowError,
    is_profiler_running,
    open_windows,
    session_of_another,
)
from lightning_profile.measurement.trace import read_ops
from lightning_profile.records import BackwardGraph, Call, Layer, Op


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Everything seen in a window.

    Attributes:
        steps: The training batches recorded, in order.
        calls: Calls of the selected layers; ``None`` for one that did not return.
        ops: Recorded operators, parents before children.
        invocations: Calls into graphs of ``torch.compile`` in the first step.
        graphs: Of the backward passes that were announced.
    """

    steps: tuple[int, ...]
    calls: tuple[Call | None, ...]
    ops: tuple[Op, ...]
    invocations: tuple[Invocation, ...] = ()
    graphs: tuple[BackwardGraph, ...] = ()


class Window:
    """Records training steps: ``warm_up``, ``start``, then a step at a time, then ``finish``.

    The low-level ``_KinetoProfile`` (documented with torch.profiler) is used rather than
    ``profile``: it has no schedule of its own to keep in step with, and no reference cycles, so
    a closed window is freed at once.
    """

    def __init__(self, layers: Sequence[Layer], device: torch.device) -> None:
        self._device = device
        self._has_device = device.type == "cuda"
        self._cupti = CuptiRelease(device)
        self._profile = _KinetoProfile(
            activities=[ProfilerActivity.CPU]
            + ([ProfilerActivity.CUDA] if self._has_device else []),
            record_shapes=True,
            with_flops=True,
            profile_memory=True,
        )
        self._calls = CallRecorder(layers)
        self._graphs: list[BackwardGraph] = []
        self._steps: list[int] = []
        self._lost_to: str | None = None  # the profiler that took the session

    def warm_up(self) -> None:
        """Switch the profiler on; what it sees before :meth:`start` is not read.

        A profiler that is prepared and not started would be cheaper. But in torch 2.11 (not in
        2.14) a user's profiler that is switched on meanwhile then fails, in the user's own code.
        """
        with warnings.catch_warnings():
            # Said by torch before 2.14 of every profile; a window is one cycle.
            warnings.filterwarnings("ignore", message=".*Profiler clears events")
            self._profile.prepare_trace()
        open_windows.add(self._profile)  # first, so that an interrupt between leaves nothing on
        self._profile.start_trace()

    def start(self) -> None:
        """Keep what is seen from now on.

        Raises:
            LostWindowError: If another profiler was switched on since the warm-up.
        """
        self._lost_to = self._taken_by()
        if self._lost_to is not None:
            open_windows.discard(self._profile)
            raise LostWindowError(self._lost_to)
        self._calls.attach()

    def begin_step(self, step: int) -> None:
        """Training batch ``step`` begins."""
        self._steps.append(step)
        self._calls.step = step
        mark_begin(step)

    def before_backward(self, loss: torch.Tensor) -> None:
        """The gradients of ``loss`` are about to be computed."""
        if self._calls.step is not None:
            self._graphs.append(backward_graph(loss))

    def end_step(self) -> None:
        """The batch has ended, its backward pass and optimizer step included.

        Raises:
            Exception: What went wrong in a hook of ours during the step.
        """
        if self._calls.step is not None:
            mark_end(self._calls.step)
        self._calls.step = None
        if self._calls.fault is not None:
            fault, self._calls.fault = self._calls.fault, None
            raise fault

    def wait_for_device(self) -> None:
        """Until the device has done what it was given, as is waited for anyway.

        Before the warm-up where CUPTI is attached by it, and at the end.
        """
        if self._has_device:
            torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """Remove the hooks and stop the profiler; safe at any time and more than once."""
        try:
            self._end()
        finally:
            self._cupti.wait()

    def _end(self) -> None:
        try:
            self._calls.detach()
            self._calls.fault = None  # closing must not raise for what is given up anyway
            self.end_step()
        finally:
            try:
                self._stop_profiler()
            finally:
                self._give_up_session()

    def _stop_profiler(self) -> None:
        if self._profile not in open_windows:
            return
        self._lost_to = self._taken_by()
        if self._lost_to is None:  # to stop ours would stop theirs
            try:
                with self._cupti.as_recording_ends():
                    self._end_session()
            except Exception:  # but an interrupt leaves it, to be stopped again
                open_windows.discard(self._profile)
                raise
        open_windows.discard(self._profile)

    def _end_session(self) -> None:
        session: Any = self._profile.profiler
        try:
            self._profile.stop_trace()
        finally:
            # torch waits for the device before it ends the session, which raises where a kernel
            # has failed; and a session that is open when the process ends crashes it.
            if is_profiler_running():
                session.kineto_results = torch._C._autograd._disable_profiler()
            autograd_profiler._run_on_profiler_stop()  # type: ignore[no-untyped-call]

    def _give_up_session(self) -> None:
        """One that never began, after an interrupt, is not to look like another profiler's."""
        session: Any = self._profile.profiler
        if session is not None and session.kineto_results is None:
            session.entered = False

    def _taken_by(self) -> str | None:
        """The profiler that took the session; it may be gone by now."""
        other = session_of_another(self._profile)
        if other is None and not is_profiler_running():
            return "torch.profiler"
        return other

    def finish(self) -> Recording:
        """Close the window and read what was recorded.

        Raises:
            LostWindowError: If another profiler was switched on meanwhile.
        """
        try:
            self._end()
            if self._lost_to is not None:
                raise LostWindowError(self._lost_to)
            ops = read_ops(self._results(), has_device=self._has_device)
        finally:
            self._cupti.wait()
        return Recording(
            steps=tuple(self._steps),
            calls=tuple(self._calls.calls),
            ops=tuple(ops),
            invocations=tuple(self._calls.invocations),
            graphs=tuple(self._graphs),
        )

    def chrome_trace(self, step_name: str) -> ChromeTrace:
        """What was recorded, to be written to a file; after :meth:`finish`.

        Args:
            step_name: What a step is called, such as ``training step``.
        """
        return ChromeTrace(self._results(), self._calls.calls, step_name)

    def _results(self) -> Any:
        if self._profile.profiler is None:
            raise RuntimeError("a window that was never warmed up has nothing to read")
        return self._profile.profiler.kineto_results
