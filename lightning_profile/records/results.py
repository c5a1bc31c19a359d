"""Theory and measurement side by side: what a window reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from torch import dtype

from lightning_profile.records.ceilings import Ceilings, Roofline
from lightning_profile.records.costs import Cost, Derivation, Footprint
from lightning_profile.records.hardware import HardwareCount, Unavailable
from lightning_profile.records.layers import Call, Layer, Phase
from lightning_profile.records.measurements import Measurement
from lightning_profile.records.memory import MemoryTable
from lightning_profile.records.record import record


@record(frozen=True, slots=True, kw_only=True)
class Device:
    """Where the measurement was taken."""

    name: str
    type: str
    threads: int


@record(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Theory beside measurement for one layer and phase in one window, per step.

    Attributes:
        layer: The layer; ``None`` for the optimizer and for the rest of the step, which belong to
            no watched layer.
        phase: Forward, recompute or backward; ``None`` without a layer.
        steps: How many steps the measured values were taken from; 0 if the layer did not run.
        calls: Calls of the layer in a step.
        dtype: Element type of the layer's output.
        cost: Theory, summed over the calls of a step; ``None`` if there is no formula.
        measured: Times are the median over the steps, the rest is exact; ``None`` if not seen.
        note: Why something is unknown, in words; empty if nothing is.
        is_optimizer: Whether this is what the optimizers did in a step.
        memory: All that was allocated, part by part; ``None`` if theory or rounding is unknown.
        roofline: The least time that the device allows for the theory; ``None`` where theory or
            the device's ceilings are unknown.
        empirical_roofline: The same at the rates that were measured on the device, where that was
            asked for beside the vendor's figures.
        hardware: What the hardware counted, or why it could not; ``None`` if it was not asked.
    """

    layer: Layer | None
    phase: Phase | None
    steps: int
    calls: int
    dtype: dtype | None
    cost: Cost | None
    measured: Measurement | None
    note: str = ""
    is_optimizer: bool = False
    memory: MemoryTable | None = None
    roofline: Roofline | None = None
    empirical_roofline: Roofline | None = None
    hardware: HardwareCount | Unavailable | None = None

    @property
    def bound(self) -> Literal["compute", "memory", "launch"] | None:
        """What limits the time: ``launch`` where the device is done before the host has issued.

        Recording costs the host about a microsecond per operator: a phase near the limit may be
        bound otherwise in a step that is not recorded.
        """
        measured = self.measured
        is_stretch_of_time = self.layer is not None or self.is_optimizer  # the rest is none
        # Without kernels there is nothing to wait for.
        if measured is not None and measured.device_time_ns and is_stretch_of_time:
            elapsed_ns = measured.wall_time_ns
            if elapsed_ns is None:  # CPU time is a part of it
                elapsed_ns = measured.cpu_time_ns
            if elapsed_ns > measured.device_time_ns:
                return "launch"
        return self.roofline.bound if self.roofline is not None else None

    @property
    def flop_ratio(self) -> float | None:
        """Counted over theoretical FLOPs."""
        if self.cost is None or self.measured is None:
            return None
        return _ratio(self.measured.counted_flop, self.cost.flop)

    @property
    def allocated_ratio(self) -> float | None:
        """Measured over theoretical allocated bytes."""
        if self.cost is None or self.measured is None:
            return None
        return _ratio(self.measured.allocated_bytes, self.cost.allocated_bytes)

    @property
    def time_ns(self) -> int | None:
        """Device time where there is a device, otherwise CPU time."""
        return None if self.measured is None else self.measured.time_ns

    @property
    def flop_per_s(self) -> float | None:
        """Achieved rate: theoretical FLOPs over the time that was taken."""
        if self.cost is None or not self.cost.flop or not self.time_ns:
            return None
        return self.cost.flop * 1e9 / self.time_ns


def _ratio(value: int | None, reference: int | None) -> float | None:
    return value / reference if value is not None and reference else None


@record(frozen=True, slots=True, kw_only=True)
class FootprintComparison:
    """What a layer should keep in memory beside what it does keep."""

    layer: Layer
    theoretical: Footprint
    measured: Footprint


@record(frozen=True, slots=True, kw_only=True)
class RankSpread:
    """One quantity of one row over the processes of a distributed training.

    Attributes:
        ranks: The processes that delivered it in time.
        minimum: The least of their values.
        mean: Their mean.
        maximum: The greatest: a straggler's, if it is a time.
    """

    ranks: tuple[int, ...]
    minimum: float
    mean: float
    maximum: float


@record(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """Everything that one window has to report.

    Attributes:
        stage: ``train`` or ``validate``.
        epoch: The epoch, from 0.
        global_step: Optimizer steps at the end of the window.
        batch_sizes: Samples in the batch of every recorded step; ``None`` if not recognised.
        steps: The recorded steps that the comparisons summarise: those of one batch size.
        dataset: Name of the data; ``None`` if it has none.
        device: Where it ran.
        ceilings: What the device can do at best; ``None`` if unknown.
        empirical_ceilings: What it reaches, where that was asked for beside the vendor's figures.
        calls: Every call of a watched layer that returned.
        measurements: Per reported layer, phase and step, and of each step's optimizer and rest.
        comparisons: Per reported layer and phase, the optimizer, and the rest of the step.
        derivations: Of the layers that ran.
        footprints: Of all reported layers.
        spreads: Per row, as the report names it, and quantity; empty in a training of one
            process.
        reading_time_ns: What it took to stop the profiler, read and analyse the window.
        step_peak_bytes: By recorded step, the most bytes of blocks handed out in it that were alive
            at one moment.
    """

    stage: str = "train"
    epoch: int
    global_step: int
    batch_sizes: Mapping[int, int | None]
    steps: tuple[int, ...]
    dataset: str | None
    device: Device
    calls: tuple[Call, ...]
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]
    derivations: tuple[Derivation, ...]
    footprints: tuple[FootprintComparison, ...]
    spreads: Mapping[tuple[str, str], Mapping[str, RankSpread]]
    reading_time_ns: int | None = None
    ceilings: Ceilings | None = None
    empirical_ceilings: Ceilings | None = None
    step_peak_bytes: Mapping[int, int] = field(default_factory=dict)

    @property
    def batch_size(self) -> int | None:
        """Samples in the batch of each summarised step."""
        return self.batch_sizes[self.steps[0]] if self.steps else None
