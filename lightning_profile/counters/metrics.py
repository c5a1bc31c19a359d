"""Which counters to ask for: they differ by chip, so the tool says which it has.

Names and what they count: the Kernel Profiling Guide,
https://docs.nvidia.com/nsight-compute/ProfilingGuide/index.html#metrics-reference
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lightning_profile.records import ExecutionUnit

# Chips of several generations name the same thing differently: the first one that exists is used.
_DRAM_READ = ("dram__bytes_read", "dram__bytes_op_read")
_DRAM_WRITE = ("dram__bytes_write", "dram__bytes_op_write")
_TIME = ("gpu__time_duration",)
_TENSOR = re.compile(r"sm__ops_path_tensor_src_(\w+)")
_ROLLUP = ".sum"
_LISTED = re.compile(r'^"?([a-z]+__\w+)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ScalarInstruction:
    """An instruction of a thread, and what it counts for."""

    unit: ExecutionUnit
    arithmetic: str
    flop: int


# By the counter ``smsp__sass_thread_inst_executed_op_<name>_pred_on``. The 16-bit instructions work
# on two packed values (CUDA C++ Programming Guide, half-precision intrinsics).
SCALAR_INSTRUCTIONS: Mapping[str, ScalarInstruction] = {
    "fadd": ScalarInstruction("add", "fp32", 1),
    "fmul": ScalarInstruction("multiply", "fp32", 1),
    "ffma": ScalarInstruction("fma", "fp32", 2),
    "hadd": ScalarInstruction("add", "fp16", 2),
    "hmul": ScalarInstruction("multiply", "fp16", 2),
    "hfma": ScalarInstruction("fma", "fp16", 4),
    "dadd": ScalarInstruction("add", "fp64", 1),
    "dmul": ScalarInstruction("multiply", "fp64", 1),
    "dfma": ScalarInstruction("fma", "fp64", 2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The counters of a chip that are asked for, by their full names.

    Attributes:
        tensor: Operations of the tensor cores, by their arithmetic; empty if the chip has no
            such counter.
        scalar: Executed instructions, by their name in :data:`SCALAR_INSTRUCTIONS`.
        dram_read: Bytes read from DRAM; ``None`` if the chip has no such counter.
        dram_write: Bytes written.
        time: Duration of a kernel.
    """

    tensor: Mapping[str, str]
    scalar: Mapping[str, str]
    dram_read: str | None
    dram_write: str | None
    time: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        others = (self.dram_read, self.dram_write, self.time)
        return (*self.tensor.values(), *self.scalar.values(), *filter(None, others))

    @property
    def has_all_units(self) -> bool:
        """Whether every operation is counted, so that a sum over the units is the whole."""
        return bool(self.tensor) and len(self.scalar) == len(SCALAR_INSTRUCTIONS)


def available_metrics(listing: str) -> frozenset[str]:
    """The names in what ``ncu --query-metrics`` printed."""
    return frozenset(_LISTED.findall(listing))


def choose_metrics(available: Collection[str]) -> Metrics:
    """What to ask a chip for that has the counters ``available``."""
    scalar = {
        name: f"smsp__sass_thread_inst_executed_op_{name}_pred_on" for name in SCALAR_INSTRUCTIONS
    }
    return Metrics(
        tensor={
            name: f"sm__ops_path_tensor_src_{name}{_ROLLUP}"
            for name in _totals(match[1] for match in map(_TENSOR.fullmatch, available) if match)
        },
        scalar={name: metric + _ROLLUP for name, metric in scalar.items() if metric in available},
        dram_read=_first(_DRAM_READ, available),
        dram_write=_first(_DRAM_WRITE, available),
        time=_first(_TIME, available),
    )


def _totals(names: Iterable[str]) -> list[str]:
    """Those that are no part of another: ``fp16`` holds ``fp16_dst_fp32`` if there are both."""
    totals: list[str] = []
    for name in sorted(names):  # a total comes before its parts
        if not any(name.startswith(f"{total}_") for total in totals):
            totals.append(name)
    return totals


def _first(names: Iterable[str], available: Collection[str]) -> str | None:
    return next((name + _ROLLUP for name in names if name in available), None)
