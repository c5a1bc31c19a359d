"""The records that flow through the pipeline, and nothing else.

Every record is frozen. ``None`` means unknown or not observed, ``0`` means truly zero. Units
stand in the field names: bytes, FLOP (one add or one multiply) and nanoseconds, never scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from torch import dtype, nn


class Phase(str, Enum):
    """The part of a training step that a cost or a measurement belongs to."""

    FORWARD = "forward"
    GRAD_INPUT = "grad_input"
    GRAD_WEIGHT = "grad_weight"
    BACKWARD = "backward"  # grad_input and grad_weight together


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A selected module of the model.

    Attributes:
        qualified_name: The module's path in the model, such as ``backbone.conv2``.
        display_name: Type and position among its type, such as ``Conv2d-2``.
        type_name: The module's class name.
        module: The live module; records never change it.
    """

    qualified_name: str
    display_name: str
    type_name: str
    module: nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One forward of a layer, as seen by its hooks.

    Attributes:
        layer: The layer's qualified name.
        step: The training batch, counted from the start of the epoch.
        index: Which call of this layer in this step, from 0.
        input_shapes: Shape of every tensor among the inputs, in order.
        output_shapes: Shape of every tensor among the outputs, in order.
        dtype: The first output's element type, ``None`` if there is no tensor output.
        input_requires_grad: Whether the backward pass computes a gradient of an input.
        output_requires_grad: Whether there is a backward pass at all.
    """

    layer: str
    step: int
    index: int
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]
    dtype: dtype | None
    input_requires_grad: bool
    output_requires_grad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """One line of a derivation: what is computed, in symbols, in numbers, and its value."""

    quantity: str
    symbols: str
    numbers: str
    value: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a phase of a layer should cost on paper.

    Attributes:
        flop: Additions and multiplications of the products, two per multiply-accumulate.
        elementwise_flop: One per element for bias, normalisation or activation.
        read_bytes: Compulsory reads from DRAM, each operand of each product once.
        write_bytes: Compulsory writes to DRAM, each result once.
        allocated_bytes: Tensors that the phase has to create and leave alive.
        derivation: How each number came about, line by line.
    """

    flop: int
    elementwise_flop: int
    read_bytes: int
    write_bytes: int
    allocated_bytes: int
    derivation: tuple[Equation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a layer keeps in memory, by what it is kept for; in bytes.

    Attributes:
        parameter_bytes: Weights and biases.
        gradient_bytes: Gradients of the parameters.
        optimizer_state_bytes: What the optimizer keeps for them (momenta, step counters).
        activation_bytes: Tensors kept from the forward for the backward, parameters excluded.
        output_bytes: The layer's output.
    """

    parameter_bytes: int | None
    gradient_bytes: int | None
    optimizer_state_bytes: int | None
    activation_bytes: int | None
    output_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A block that an allocator handed out (``bytes`` > 0) or took back (``bytes`` < 0)."""

    time_ns: int
    address: int
    bytes: int
    device_type: str
    reserved_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operator recorded by torch.profiler, or one of the ranges that mark calls and steps.

    Attributes:
        name: The operator, such as ``aten::conv2d``.
        step: The training batch it ran in.
        parent: Position of the enclosing operator in the list of operators, or ``None``.
        call: Position of the call in the window's list if this is a call's range.
        thread: The thread it ran on, in the numbering of ``forward_thread``.
        start_ns: When it began.
        end_ns: When it returned to the host.
        sequence_number: Number shared by a forward operator and its autograd node, or ``None``.
        forward_thread: For an autograd node and the engine's call of it, the thread of the
            forward it belongs to; ``None`` for all else.
        is_autograd_node: Whether this is the backward of a numbered forward operator.
        counted_flop: Products by formula over the recorded shapes; ``None`` without a formula.
        counted_elementwise_flop: Element-wise adds and multiplies, likewise.
        is_uncounted: Whether it does products for which there is no formula.
        kernels: Kernels, copies and memsets that it launched itself (not its children).
        device_time_ns: Their summed device time; ``None`` where no device was recorded.
        allocations: Blocks that it allocated or freed itself (not its children).
    """

    name: str
    step: int
    parent: int | None
    call: int | None
    thread: int
    start_ns: int
    end_ns: int
    sequence_number: int | None
    forward_thread: int | None
    is_autograd_node: bool
    counted_flop: int | None
    counted_elementwise_flop: int | None
    is_uncounted: bool
    kernels: int
    device_time_ns: int | None
    allocations: tuple[Allocation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a phase of a layer did cost in one step.

    Attributes:
        layer: The layer's qualified name; ``None`` for what belongs to no selected layer.
        phase: Forward or backward; ``None`` for what belongs to no selected layer.
        step: The training batch, counted from the start of the epoch.
        calls: Calls of the layer in this step that the phase was executed for.
        counted_flop: Products counted by formula over the operators that ran; ``None`` if there
            are none with a formula, or one without.
        counted_elementwise_flop: Element-wise adds and multiplies, likewise.
        cpu_time_ns: Host time inside the operators.
        device_time_ns: Summed time of the kernels they launched; ``None`` without a device.
        kernels: How many; ``None`` without a device.
        allocated_bytes: Blocks allocated in the phase that outlive it.
        workspace_bytes: Blocks allocated in the phase and freed before it ended.
        peak_allocated_bytes: The most of both that was alive at one moment.
        reserved_bytes: The caching allocator's hold at the end; ``None`` where it has none.
    """

    layer: str | None
    phase: Phase | None
    step: int
    calls: int
    counted_flop: int | None
    counted_elementwise_flop: int | None
    cpu_time_ns: int
    device_time_ns: int | None
    kernels: int | None
    allocated_bytes: int
    workspace_bytes: int
    peak_allocated_bytes: int
    reserved_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where the measurement was taken."""

    name: str
    type: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Theory beside measurement for one layer and phase in one window, per step.

    Attributes:
        layer: The layer.
        phase: Forward or backward.
        steps: How many steps the measured values were taken from; 0 if the layer did not run.
        calls: Calls of the layer in a step.
        dtype: Element type of the layer's output, such as ``float32``.
        cost: Theory, summed over the calls of a step; ``None`` if there is no formula.
        measured: Times are the median over the steps, the rest is exact; ``None`` if not seen.
        note: Why something is unknown, in words; empty if nothing is.
    """

    layer: Layer
    phase: Phase
    steps: int
    calls: int
    dtype: str | None
    cost: Cost | None
    measured: Measurement | None
    note: str = ""

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
        if self.measured is None:
            return None
        device_time_ns = self.measured.device_time_ns
        return self.measured.cpu_time_ns if device_time_ns is None else device_time_ns

    @property
    def flop_per_s(self) -> float | None:
        """Achieved rate: theoretical FLOPs over the time that was taken."""
        if self.cost is None or not self.time_ns:
            return None
        return self.cost.flop * 1e9 / self.time_ns


def _ratio(value: int | None, reference: int) -> float | None:
    return value / reference if value is not None and reference else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """The pen-and-paper side of one layer, from its first call in a window.

    Attributes:
        layer: The layer.
        call: The call whose geometry was used.
        costs: Cost per product; ``None`` if there is no formula for this type of layer.
        footprint: One equation per quantity of :class:`Footprint` with a closed form.
    """

    layer: Layer
    call: Call
    costs: Mapping[Phase, Cost] | None
    footprint: tuple[Equation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FootprintComparison:
    """What a layer should keep in memory beside what it does keep."""

    layer: Layer
    theoretical: Footprint
    measured: Footprint


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """Everything that one window has to report.

    Attributes:
        epoch: The epoch, from 0.
        global_step: Optimizer steps at the end of the window.
        batch_sizes: Samples in the batch of every recorded step; ``None`` if not recognised.
        steps: The recorded steps that the comparisons summarise: those of one batch size.
        dataset: Name of the training data; ``None`` if it has none.
        device: Where it ran.
        calls: Every call of a selected layer.
        measurements: Per layer, phase and step, with one unattributed row per step.
        comparisons: Per layer and phase.
        derivations: Of the layers that ran.
        footprints: Of all selected layers.
        reading_time_ns: What it took to stop the profiler, read and analyse the window.
    """

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
    reading_time_ns: int | None = None

    @property
    def batch_size(self) -> int | None:
        """Samples in the batch of each summarised step."""
        return self.batch_sizes[self.steps[0]] if self.steps else None
