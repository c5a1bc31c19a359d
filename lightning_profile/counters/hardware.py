"""Hardware counts of captured layers, each geometry once in a run."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from lightning_profile.counters.capture import CallCapture
from lightning_profile.counters.captured import CapturedCall, CapturedLayer
from lightning_profile.counters.geometry import Geometry
from lightning_profile.counters.nsight_compute import Kernels, NsightCompute
from lightning_profile.counters.outcomes import PHASES
from lightning_profile.counters.refusals import NO_BACKWARD, NO_GPU, NOT_KEPT
from lightning_profile.counters.tool import CACHE_CONTROL
from lightning_profile.records import HardwareCount, Layer, Phase, Unavailable

LayerPhase = tuple[str, Phase]  # by the layer's qualified name


class HardwareCounters:
    """Counts what layers execute, with Nsight Compute.

    :meth:`capture` gives a capture for one step of the training. After that step :meth:`count`
    replays what it kept in another process, while the training waits: what else runs on the GPU
    would be counted as traffic.

    Args:
        time_limit_s: The most that one :meth:`count` may take.
    """

    def __init__(self, time_limit_s: float = 120.0) -> None:
        self._tool = NsightCompute(time_limit_s)
        self._counted: dict[tuple[Geometry, Phase], Kernels | Unavailable] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="lightning_profile-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def capture(self, layers: Sequence[Layer]) -> CallCapture:
        """A capture of ``layers``; it keeps no data of what was counted before."""
        known = {geometry for geometry, _ in self._counted}
        return CallCapture(layers, Path(tempfile.mkdtemp(dir=self._folder)), known)

    def count(
        self, captured: Sequence[CapturedLayer]
    ) -> dict[LayerPhase, HardwareCount | Unavailable]:
        """What each captured layer executed in its forward and its backward.

        A phase is the sum over the layer's calls in the step. One that can't be counted says why,
        and the others are counted all the same. Layers that were not called are left out.
        """
        self._replay([call for layer in captured for call in layer.calls])
        return {
            (layer.layer.qualified_name, phase): layer.unavailable or self._sum(layer.calls, phase)
            for layer in captured
            for phase in PHASES
            if layer.calls or layer.unavailable is not None
        }

    def close(self) -> None:
        """Remove the captured data from the disk; done at the end of the process anyway."""
        self._remove()

    def _replay(self, calls: Sequence[CapturedCall]) -> None:
        """Count what is new among ``calls``, one run of the tool for each capture."""
        new = {}
        for call in calls:
            if not _is_nvidia(call.device):
                self._counted.update({(call.geometry, phase): NO_GPU for phase in PHASES})
            elif call.package is not None:
                new[call.package] = call.geometry
        for folder in {package.parent for package in new}:
            for (name, phase), counted in self._tool.count(folder).items():
                if folder / name in new:  # a layer that was given up may leave one behind
                    self._counted[new[folder / name], phase] = counted
            shutil.rmtree(folder, ignore_errors=True)

    def _sum(self, calls: Iterable[CapturedCall], phase: Phase) -> HardwareCount | Unavailable:
        kernels: Kernels = ()
        total = 0
        for call in calls:
            number = call.calls if phase is Phase.FORWARD else call.backward_calls
            if not number:
                continue
            counted = self._counted.get((call.geometry, phase), NOT_KEPT)
            if isinstance(counted, Unavailable):
                return counted
            kernels += counted * number
            total += number
        if not total:
            return NO_BACKWARD
        return HardwareCount(phase=phase, calls=total, kernels=kernels, cache_control=CACHE_CONTROL)


def _is_nvidia(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None
