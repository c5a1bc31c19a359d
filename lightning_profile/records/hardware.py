"""What the hardware's own counters say of a layer's kernels, or why they can't be read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from lightning_profile.records.layers import Phase
from lightning_profile.records.sums import sum_or_unknown

ExecutionUnit = Literal["tensor", "fma", "add", "multiply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedFlop:
    """Operations that one kind of unit executed in one arithmetic.

    Attributes:
        unit: Tensor cores, or scalar instructions: fused multiply-adds, additions, products.
        arithmetic: Such as ``bf16``, ``tf32`` or ``fp32``. Scalar 16-bit instructions are all
            ``fp16``: the counters don't tell bfloat16 apart.
        flop: One add or one multiply each, so 2 per multiply-accumulate.
    """

    unit: ExecutionUnit
    arithmetic: str
    flop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareKernel:
    """One kernel, as counted by the hardware; ``None`` where the chip has no such counter.

    Attributes:
        name: The kernel's demangled name.
        executed: Everything that it executed; kinds that it did not use are left out.
        product_flop: What of it belongs to matrix products and convolutions.
        elementwise_flop: The rest.
        dram_read_bytes: Read from DRAM.
        dram_write_bytes: Written to DRAM while the kernel ran.
        time_ns: Its duration under the tool, each kernel on its own.
    """

    name: str
    executed: tuple[ExecutedFlop, ...]
    product_flop: int | None
    elementwise_flop: int | None
    dram_read_bytes: int | None
    dram_write_bytes: int | None
    time_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareCount:
    """All kernels of a phase of a layer, in a step.

    Attributes:
        phase: Forward or backward.
        calls: How many calls of the layer the kernels are of.
        kernels: In the order in which they were launched, call by call.
        cache_control: ``all`` if the caches were emptied before each kernel: reads then count
            all that a kernel needs from outside, and writes only what left the L2 cache before
            the kernel ended.
    """

    phase: Phase
    calls: int
    kernels: tuple[HardwareKernel, ...]
    cache_control: str

    @property
    def hardware_flop(self) -> int | None:
        """Executed by matrix products and convolutions: what theory's ``flop`` is about."""
        return sum_or_unknown(kernel.product_flop for kernel in self.kernels)

    @property
    def hardware_elementwise_flop(self) -> int | None:
        """Executed by all else, such as bias, scaling and layout conversion."""
        return sum_or_unknown(kernel.elementwise_flop for kernel in self.kernels)

    @property
    def dram_read_bytes(self) -> int | None:
        """Read from DRAM by all kernels."""
        return sum_or_unknown(kernel.dram_read_bytes for kernel in self.kernels)

    @property
    def dram_write_bytes(self) -> int | None:
        """Written to DRAM by all kernels."""
        return sum_or_unknown(kernel.dram_write_bytes for kernel in self.kernels)

    @property
    def time_ns(self) -> int | None:
        """Summed duration of the kernels under the tool."""
        return sum_or_unknown(kernel.time_ns for kernel in self.kernels)

    @property
    def executed(self) -> tuple[ExecutedFlop, ...]:
        """What was executed by unit and arithmetic, over all kernels."""
        totals: Counter[tuple[ExecutionUnit, str]] = Counter()
        for kernel in self.kernels:
            for part in kernel.executed:
                totals[part.unit, part.arithmetic] += part.flop
        return tuple(
            ExecutedFlop(unit=unit, arithmetic=arithmetic, flop=flop)
            for (unit, arithmetic), flop in totals.items()
        )


class UnavailableCause(str, Enum):
    """Why there is no hardware count."""

    NO_TOOL = "no_tool"
    FORBIDDEN = "forbidden"
    UNKNOWN_METRIC = "unknown_metric"
    TIME_LIMIT = "time_limit"
    NOT_CAPTURED = "not_captured"
    NO_BACKWARD = "no_backward"
    NOT_REPLAYED = "not_replayed"
    OUT_OF_MEMORY = "out_of_memory"
    UNSUPPORTED_DEVICE = "unsupported_device"
    OTHER_PROFILER = "other_profiler"
    TOOL_FAILED = "tool_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """Why there is no hardware count, and what would help.

    Attributes:
        cause: The kind of reason.
        reason: What is the matter, in words.
        remedy: What to do about it; empty if nothing can be done.
    """

    cause: UnavailableCause
    reason: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """Reason and remedy in one line."""
        return f"{self.reason}: {self.remedy}" if self.remedy else self.reason
