"""What the machine did: recorded operators, and their sums per layer."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_profile.records.kernels import DeviceUse, Kernel
from lightning_profile.records.layers import Phase
from lightning_profile.records.memory import Blocks
from lightning_profile.records.record import record


@record(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A block that an allocator handed out (``bytes`` > 0) or took back (``bytes`` < 0).

    Attributes:
        time_ns: When.
        address: Of the block.
        bytes: The block's size, as the allocator rounds it.
        device_type: Where the block lies.
        reserved_bytes: What a caching allocator holds then; ``None`` where it has no cache.
        cached_bytes: The part of it that is in no tensor's block.
    """

    time_ns: int
    address: int
    bytes: int
    device_type: str
    reserved_bytes: int | None
    cached_bytes: int | None = None


@record(frozen=True, slots=True, kw_only=True)
class Op:
    """One operator recorded by torch.profiler, or one of the ranges that mark calls and steps.

    Attributes:
        name: The operator, such as ``aten::conv2d``.
        step: The training batch it ran in.
        parent: Position of the enclosing operator in the list of operators, or ``None``.
        call: Position of the call in the window's list if this is a call's range.
        thread: Of an operator with a sequence number, the thread that it ran on, in the
            numbering of ``forward_thread``.
        start_ns: When it began.
        end_ns: When it returned to the host.
        sequence_number: Number shared by a forward operator and its autograd node, or ``None``.
        forward_thread: For an autograd node and the engine's call of it, the thread of the
            forward it belongs to; ``None`` for all else.
        is_autograd_node: Whether this is the backward of a numbered forward operator.
        counted_flop: Products by formula over the recorded shapes; ``None`` without a formula.
        counted_elementwise_flop: Element-wise adds and multiplies, likewise.
        is_uncounted: Whether it does products for which there is no formula.
        launched: Kernels, copies and memsets that it launched itself (not its children);
            ``None`` where no device was recorded.
        launches_graph: Whether it launched a CUDA graph, whose kernels may be missing.
        product: Rows, contracted and columns of a matrix product in a backward.
        allocations: Blocks that it allocated or freed itself (not its children).
        cast: If it casts, the types before and after, such as ``float32 to bfloat16``.
    """

    name: str
    step: int
    parent: int | None
    call: int | None
    thread: int | None
    start_ns: int
    end_ns: int
    sequence_number: int | None
    forward_thread: int | None
    is_autograd_node: bool
    counted_flop: int | None
    counted_elementwise_flop: int | None
    is_uncounted: bool
    launched: tuple[Kernel, ...] | None
    allocations: tuple[Allocation, ...]
    launches_graph: bool = False
    product: tuple[int, int, int] | None = None
    cast: str | None = None

    @property
    def kernels(self) -> int:
        """How many kernels, copies and memsets it launched itself."""
        return len(self.launched or ())

    @property
    def device_time_ns(self) -> int | None:
        """Their summed device time; ``None`` where no device was recorded."""
        if self.launched is None:
            return None
        return sum(kernel.device_time_ns for kernel in self.launched)


@record(frozen=True, slots=True)
class BackwardGraph:
    """Where autograd has to add up gradients in one backward pass.

    Attributes:
        shared: By a node's number, the tensors that it and other nodes, or it twice, have
            gradients of, in the order in which the node hands these over. A tensor is a number
            that means nothing else.
    """

    shared: Mapping[int, tuple[int, ...]]


@record(frozen=True, slots=True, kw_only=True)
class Work:
    """What operators did, in quantities that add up.

    Attributes:
        counted_flop: Products counted by formula over the operators that ran; ``None`` if there
            is a product without a formula among them.
        counted_elementwise_flop: Element-wise adds and multiplies; ``None`` if no operator has
            a formula for them.
        cpu_time_ns: Host time inside the operators.
        device_time_ns: Summed time of the kernels they launched; ``None`` without a device, and
            if a CUDA graph is among them.
        kernels: How many; likewise.
    """

    counted_flop: int | None
    counted_elementwise_flop: int | None
    cpu_time_ns: int
    device_time_ns: int | None
    kernels: int | None


@record(frozen=True, slots=True, kw_only=True)
class OperatorUse:
    """One kind of operator in a row: its own time, without that of operators inside of it."""

    name: str
    count: int
    cpu_time_ns: int
    device_time_ns: int | None


@record(frozen=True, slots=True, kw_only=True)
class OperatorSums:
    """What the operators of a row did, by name and without operators inside of them.

    Attributes:
        counts: How many ran.
        cpu_times_ns: Their own times.
        device_times_ns: Times of the kernels that they launched, without those that launched
            none; ``None`` where no device was recorded.
    """

    counts: Mapping[str, int]
    cpu_times_ns: Mapping[str, int]
    device_times_ns: Mapping[str, int] | None

    def uses(self) -> tuple[OperatorUse, ...]:
        """The longest first."""
        device_times_ns = self.device_times_ns or {}
        names = sorted(self.counts, key=self.cpu_times_ns.__getitem__, reverse=True)
        names.sort(key=lambda name: device_times_ns.get(name, 0), reverse=True)
        return tuple(
            OperatorUse(
                name=name,
                count=self.counts[name],
                cpu_time_ns=self.cpu_times_ns[name],
                device_time_ns=None
                if self.device_times_ns is None
                else device_times_ns.get(name, 0),
            )
            for name in names
        )


@record(frozen=True, slots=True, kw_only=True)
class Measurement(Work):
    """What a phase of a layer did cost in one step, all that ran inside of it included.

    Attributes:
        layer: The layer's qualified name; ``None`` for what belongs to no watched layer.
        phase: Forward, recompute or backward; ``None`` for what belongs to no watched layer.
        step: The batch, counted from the start of the epoch.
        is_optimizer: Whether this is what the step's optimizers did, which is no layer's either.
        calls: Positions, in the window's list, of the calls that the phase was executed for.
        calls_inside: Those, and the calls of layers inside of them.
        own: The part that is no other reported layer's. The own parts of all rows of a step,
            the optimizer's and the rest's included, add up to the step.
        allocated_bytes: Blocks allocated in the phase that outlive it.
        workspace_bytes: Blocks allocated in the phase and freed before it ended.
        peak_allocated_bytes: The most of both that was alive at one moment.
        reserved_bytes: The caching allocator's hold at the end; ``None`` where it has none.
        cached_bytes: The part of it that was in no block then.
        blocks: Every block handed out in the phase; ``None`` if calls of watched layers inside
            had a part in it, and without a layer.
        wall_time_ns: Elapsed on the host, Python between the operators included; of a backward
            inside of the engine's calls of its nodes. ``None`` for the rest of a step, and where
            layers inside were called, as the time of their hooks is in it.
        on_device: Its kernels in detail; ``None`` where no device was recorded.
        operator_sums: Every kind of operator that ran; ``None`` if that is not known.
        direct_operators: Names of those that no watched layer inside of this one ran.
        direct_products: Those of them that do products.
        is_repeated: Whether a part of the backward ran more than once, or was differentiated.
        lacks_gradients: Whether a pass of the backward handed over fewer gradients than the
            layer's parameters and leaf inputs need, as ``torch.autograd.grad`` does.
        hides_optimizer: Whether what an optimizer did is in it, as it could not be told apart.
        casts: Casts of floating-point types by kind, and how many of each ran.
        uncounted: Names of operators that do products and have no formula.
    """

    layer: str | None
    phase: Phase | None
    step: int
    calls: tuple[int, ...]
    calls_inside: tuple[int, ...]
    own: Work
    allocated_bytes: int
    workspace_bytes: int
    peak_allocated_bytes: int
    reserved_bytes: int | None
    cached_bytes: int | None = None
    blocks: Blocks | None = None
    wall_time_ns: int | None = None
    on_device: DeviceUse | None = None
    operator_sums: OperatorSums | None = None
    direct_operators: tuple[str, ...] = ()
    direct_products: tuple[str, ...] = ()
    is_repeated: bool = False
    lacks_gradients: bool = False
    is_optimizer: bool = False
    hides_optimizer: bool = False
    casts: tuple[tuple[str, int], ...] = ()
    uncounted: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[OperatorUse, ...]:
        """Every kind of operator that ran, the longest first."""
        return () if self.operator_sums is None else self.operator_sums.uses()

    @property
    def time_ns(self) -> int | None:
        """Device time where there is a device, otherwise CPU time."""
        if self.device_time_ns is None and self.on_device is None:
            return self.cpu_time_ns
        return self.device_time_ns
