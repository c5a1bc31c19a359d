"""The records that flow through the pipeline, and nothing else.

Every record is frozen, those that a window makes by the hundred for type checkers only (record).
``None`` means unknown or not observed, ``0`` means truly zero. Units stand in the field names:
bytes, FLOP (one add or one multiply) and nanoseconds, never scaled.

layers is what is looked at (Layer, Call), costs pen and paper (Cost, Derivation), measurements
what the machine did (Op, Measurement), kernels what its device did (Kernel, DeviceUse), memory what
its allocator did (Blocks, MemoryTable), hardware what its counters say (HardwareCount,
Unavailable), results both side by side (Comparison, WindowResult), and ceilings what the device
could do at best (Ceilings, Roofline).
"""

from lightning_profile.records.ceilings import (
    ARITHMETIC_KINDS,
    ArithmeticKind,
    Ceilings,
    MathsMode,
    Roofline,
)
from lightning_profile.records.costs import (
    AllocatedTensor,
    Cost,
    CostedCall,
    Derivation,
    Equation,
    Footprint,
    PhaseCosts,
)
from lightning_profile.records.hardware import (
    ExecutedFlop,
    ExecutionUnit,
    HardwareCount,
    HardwareKernel,
    Unavailable,
    UnavailableCause,
)
from lightning_profile.records.kernels import DeviceUse, Kernel, KernelKind, KernelUse
from lightning_profile.records.layers import (
    ROOT_NAME,
    Call,
    Layer,
    ParameterFact,
    Phase,
    TensorFact,
)
from lightning_profile.records.measurements import (
    Allocation,
    BackwardGraph,
    Measurement,
    Op,
    OperatorSums,
    OperatorUse,
    Work,
)
from lightning_profile.records.memory import Block, Blocks, MemoryKind, MemoryPart, MemoryTable
from lightning_profile.records.results import (
    Comparison,
    Device,
    FootprintComparison,
    RankSpread,
    WindowResult,
)
from lightning_profile.records.sums import sum_or_unknown

__all__ = [
    "ARITHMETIC_KINDS",
    "ROOT_NAME",
    "AllocatedTensor",
    "Allocation",
    "ArithmeticKind",
    "BackwardGraph",
    "Block",
    "Blocks",
    "Call",
    "Ceilings",
    "Comparison",
    "Cost",
    "CostedCall",
    "Derivation",
    "Device",
    "DeviceUse",
    "Equation",
    "ExecutedFlop",
    "ExecutionUnit",
    "Footprint",
    "FootprintComparison",
    "HardwareCount",
    "HardwareKernel",
    "Kernel",
    "KernelKind",
    "KernelUse",
    "Layer",
    "MathsMode",
    "Measurement",
    "MemoryKind",
    "MemoryPart",
    "MemoryTable",
    "Op",
    "OperatorSums",
    "OperatorUse",
    "ParameterFact",
    "Phase",
    "PhaseCosts",
    "RankSpread",
    "Roofline",
    "TensorFact",
    "Unavailable",
    "UnavailableCause",
    "WindowResult",
    "Work",
    "sum_or_unknown",
]
