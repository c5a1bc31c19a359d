"""What ran on an accelerator: kernels, and their sums by name."""

from __future__ import annotations

from typing import Literal

from lightning_profile.records.record import record

KernelKind = Literal[
    "matrix product",
    "transform",  # FFT and Winograd
    "layout conversion",
    "reduction",
    "elementwise or bias",
    "memset or copy",
    "communication",
    "other",
]


@record(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One piece of work of the device, as CUPTI recorded it.

    Attributes:
        name: The demangled name; of copies and memsets kineto's, such as ``Memset (Device)``.
        start_ns: When it began, on the host's clock.
        device_time_ns: How long it ran.
        stream: The stream's number.
    """

    name: str
    start_ns: int
    device_time_ns: int
    stream: int

    @property
    def end_ns(self) -> int:
        """When it ended."""
        return self.start_ns + self.device_time_ns


@record(frozen=True, slots=True, kw_only=True)
class KernelUse:
    """All kernels of one name in a row.

    Attributes:
        name: The kernel's name.
        kind: What it does, told by its name.
        count: How many ran.
        device_time_ns: Their summed time.
        share: Of the row's summed device time, from 0 to 1.
    """

    name: str
    kind: KernelKind
    count: int
    device_time_ns: int
    share: float


@record(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """What a row did on the device.

    Attributes:
        kernels: Every kernel by name, the longest first; empty if ``launches_graph``.
        span_ns: From the first kernel's start to the last one's end, summed over the calls: more
            than their summed time if there are gaps, less if some ran beside each other;
            ``None`` without kernels, for the rest of a step, and if ``launches_graph``.
        grad_input_device_time_ns: Of a backward, the time of the products that compute the
            gradient of the input, sums over the parts of a split product included, conversion of
            layouts not; ``None`` if there are none, or one of the row's products can't be told.
        grad_weight_device_time_ns: Likewise, the gradient of the weight.
        launches_graph: Whether a CUDA graph was launched, whose kernels may be missing.
    """

    kernels: tuple[KernelUse, ...] = ()
    span_ns: int | None = None
    grad_input_device_time_ns: int | None = None
    grad_weight_device_time_ns: int | None = None
    launches_graph: bool = False
