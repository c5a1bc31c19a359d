"""One run of Nsight Compute over a folder of captured calls: from metrics to kernels per part."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from lightning_profile.counters.metrics import Metrics, available_metrics, choose_metrics
from lightning_profile.counters.outcomes import MARKER, PHASES, Outcome, read_outcomes
from lightning_profile.counters.processes import Finished, run
from lightning_profile.counters.reading import UnreadableOutputError, read_kernels, split_at
from lightning_profile.counters.refusals import (
    NO_BACKWARD,
    NO_GPU,
    NO_METRICS,
    NO_TOOL,
    last_line,
    nested_profiler,
    not_replayed,
    out_of_memory,
    refusal,
    replay_ended,
    time_is_up,
    tool_failed,
)
from lightning_profile.counters.tool import (
    find_tool,
    other_profiler,
    profile_command,
    query_command,
    tool_environment,
)
from lightning_profile.records import HardwareKernel, Phase, Unavailable, UnavailableCause

Kernels = tuple[HardwareKernel, ...]
Parts = dict[tuple[str, Phase], Kernels | Unavailable]  # by package and phase

_SHARE_FOR_STARTS = 0.7  # of the time: a part that begins later may not get to its end


class NsightCompute:
    """The tool, with what it said of the chip.

    Args:
        time_limit_s: The most that one :meth:`count` may take.
    """

    def __init__(self, time_limit_s: float) -> None:
        self._time_limit_s = time_limit_s
        self._metrics: Metrics | None = None

    def count(self, folder: Path) -> Parts:
        """Replay every package in ``folder``; a result for each of them and both phases."""
        packages = sorted(path.name for path in folder.glob("*.pt"))
        counted = self._count(folder)
        if isinstance(counted, Unavailable):
            return {(package, phase): counted for package in packages for phase in PHASES}
        parts, ending = counted
        return {
            (package, phase): parts.get((package, phase), ending)
            for package in packages
            for phase in PHASES
        }

    def _count(self, folder: Path) -> tuple[Parts, Unavailable] | Unavailable:
        """The parts that the replay got to, and what became of the others."""
        end = time.monotonic() + self._time_limit_s
        profiler = other_profiler(os.environ)
        if profiler is not None:
            return nested_profiler(profiler)
        tool = find_tool(os.environ)
        if tool is None:
            return NO_TOOL
        environment = tool_environment(os.environ)
        metrics = self._query(tool, environment)
        if isinstance(metrics, Unavailable):
            return metrics
        left_s = max(0.0, end - time.monotonic())
        deadline = time.time() + _SHARE_FOR_STARTS * left_s
        command = profile_command(tool, metrics.names, folder, deadline)
        finished = self._run(command, environment, left_s)
        if isinstance(finished, Unavailable):
            return finished
        outcomes = list(read_outcomes(folder))
        try:
            return self._assign(outcomes, finished, metrics), replay_ended(finished)
        except UnreadableOutputError as fault:
            return tool_failed(str(fault))

    def _query(self, tool: str, environment: Mapping[str, str]) -> Metrics | Unavailable:
        if self._metrics is None:
            finished = self._run(query_command(tool), environment, self._time_limit_s)
            if isinstance(finished, Unavailable):
                return finished
            if finished.exit_code != 0:
                return tool_failed(last_line(finished))
            metrics = choose_metrics(available_metrics(finished.output))
            if not metrics.names:
                return NO_METRICS
            self._metrics = metrics
        return self._metrics

    def _run(
        self, command: list[str], environment: Mapping[str, str], time_limit_s: float
    ) -> Finished | Unavailable:
        try:
            finished = run(command, environment, time_limit_s)
        except OSError as fault:
            return tool_failed(str(fault))
        if finished.exit_code is None:
            return time_is_up(self._time_limit_s)
        return refusal(finished) or finished

    def _assign(self, outcomes: list[Outcome], finished: Finished, metrics: Metrics) -> Parts:
        """Give each part of the table to what was replayed, in the order of both."""
        marked = [outcome for outcome in outcomes if outcome.is_marked]
        kernels = read_kernels(finished.output, metrics) if marked else []
        parts = split_at(MARKER, kernels)
        if len(parts) < len(marked):
            raise UnreadableOutputError(f"{len(parts)} of {len(marked)} parts are in its table")
        in_order = iter(parts)
        assigned: Parts = {}
        for outcome in outcomes:
            part = next(in_order) if outcome.is_marked else NO_GPU
            assigned[outcome.package, outcome.phase] = self._reason(outcome) or part
        return assigned

    def _reason(self, outcome: Outcome) -> Unavailable | None:
        if outcome.cause is UnavailableCause.TIME_LIMIT:
            return time_is_up(self._time_limit_s)
        if outcome.cause is UnavailableCause.NO_BACKWARD:
            return NO_BACKWARD
        if outcome.cause is UnavailableCause.OUT_OF_MEMORY:
            return out_of_memory(outcome.error)
        return not_replayed(outcome.error) if outcome.cause is not None else None
