"""What the quantities are: their units, words, and the theory that stands beside them.

A column that is not known here is shown by its name; its unit is told by how the name ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lightning_profile.report.units import (
    format_bytes,
    format_exact,
    format_flop,
    format_rate,
    format_ratio,
    format_time,
)

Unit = Literal["FLOP", "B", "ns", "FLOP/s", "FLOP/B", "1"]
_ENDINGS: tuple[tuple[str, Unit], ...] = (
    ("_flop", "FLOP"),
    ("_bytes", "B"),
    ("_ns", "ns"),
    ("flop_per_s", "FLOP/s"),
    ("flop_per_byte", "FLOP/B"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A column of a point's rows.

    Attributes:
        name: The column.
        title: In words.
        theory: The column of theory for the same thing; ``None`` if there is none.
        grows: Whether theory has it grow in a straight line with the batch size; rates and
            ratios do not.
    """

    name: str
    title: str
    theory: str | None = None
    grows: bool = True

    @property
    def unit(self) -> Unit:
        """Its unit, by the end of its name; ``1`` for a plain number."""
        return next((unit for end, unit in _ENDINGS if self.name.endswith(end)), "1")

    @property
    def is_exact(self) -> bool:
        """Whether it is a count, not a reading of a clock."""
        return self.unit in ("FLOP", "B")

    @property
    def is_clocked(self) -> bool:
        """Whether it is a reading of a clock; a roofline's time is none."""
        return self.unit == "ns" and not self.name.endswith("roofline_time_ns")

    def format(self, value: float | None) -> str:
        """``value`` as people read it."""
        if value is not None and value < 0:  # a line can be, where it says nothing
            return f"−{self.format(-value)}"
        formats: dict[Unit, Callable[[float | None], str]] = {
            "FLOP": format_flop,
            "B": format_bytes,
            "ns": format_time,
            "FLOP/s": format_rate,
        }
        if self.unit == "1" and isinstance(value, int):
            return format_exact(value, "")
        return formats.get(self.unit, format_ratio)(value)


KNOWN = {
    each.name: each
    for each in (
        Quantity(name="theoretical_flop", title="FLOPs, theoretical"),
        Quantity(name="counted_flop", title="FLOPs, counted", theory="theoretical_flop"),
        Quantity(name="hardware_flop", title="FLOPs, executed", theory="theoretical_flop"),
        Quantity(name="theoretical_elementwise_flop", title="element-wise FLOPs, theoretical"),
        Quantity(
            name="counted_elementwise_flop",
            title="element-wise FLOPs, counted",
            theory="theoretical_elementwise_flop",
        ),
        Quantity(
            name="hardware_elementwise_flop",
            title="element-wise FLOPs, executed",
            theory="theoretical_elementwise_flop",
        ),
        Quantity(name="theoretical_allocated_bytes", title="allocated, theoretical"),
        Quantity(name="allocated_bytes", title="allocated", theory="theoretical_allocated_bytes"),
        Quantity(name="rounding_bytes", title="the allocator's rounding"),
        Quantity(name="other_kept_bytes", title="kept beside theory's tensors"),
        Quantity(name="workspace_bytes", title="workspace"),
        Quantity(name="memory_residual_bytes", title="allocated less all that is told apart"),
        Quantity(name="peak_allocated_bytes", title="peak allocated"),
        Quantity(name="reserved_bytes", title="reserved"),
        Quantity(name="cached_bytes", title="cached by the allocator"),
        Quantity(name="peak_reserved_bytes", title="peak reserved"),
        Quantity(name="peak_tensor_bytes", title="peak of a step's tensors"),
        # What the C library keeps of freed blocks is in it, which no theory knows of.
        Quantity(name="peak_resident_bytes", title="peak resident memory", grows=False),
        Quantity(name="theoretical_read_bytes", title="compulsory reads"),
        Quantity(name="theoretical_write_bytes", title="compulsory writes"),
        Quantity(name="dram_read_bytes", title="DRAM reads", theory="theoretical_read_bytes"),
        Quantity(name="dram_write_bytes", title="DRAM writes", theory="theoretical_write_bytes"),
        Quantity(name="wall_time_ns", title="wall time", theory="roofline_time_ns"),
        Quantity(name="device_time_ns", title="device time", theory="roofline_time_ns"),
        Quantity(name="cpu_time_ns", title="CPU time", theory="roofline_time_ns"),
        Quantity(name="grad_input_device_time_ns", title="device time, gradient of the input"),
        Quantity(name="grad_weight_device_time_ns", title="device time, gradient of the weight"),
        Quantity(name="roofline_time_ns", title="time, roofline"),
        Quantity(name="empirical_roofline_time_ns", title="time, empirical roofline"),
        Quantity(name="page_faults", title="page faults", grows=False),
        Quantity(name="interruptions", title="interruptions", grows=False),
        Quantity(name="kernels", title="kernels", grows=False),
        Quantity(name="flop_per_s", title="achieved rate", grows=False),
        Quantity(name="flop_per_byte", title="arithmetic intensity", grows=False),
        Quantity(name="roofline_fraction", title="fraction of the roofline", grows=False),
        Quantity(
            name="empirical_roofline_fraction",
            title="fraction of the empirical roofline",
            grows=False,
        ),
        Quantity(name="flop_ratio", title="counted over theoretical FLOPs", grows=False),
        Quantity(name="allocated_ratio", title="allocated over theoretical", grows=False),
    )
}
_ORDER = {name: position for position, name in enumerate(KNOWN)}


def quantity(name: str) -> Quantity:
    """The quantity in a column."""
    if name in KNOWN:
        return KNOWN[name]
    title = name
    for ending, _ in _ENDINGS:
        title = title.removesuffix(ending)
    grows = name.endswith(("_flop", "_bytes", "_ns"))
    return Quantity(name=name, title=title.replace("_", " ").strip() or name, grows=grows)


def in_order(names: set[str]) -> list[Quantity]:
    """The quantities in these columns: the known ones as above, then the others by name."""
    return [quantity(name) for name in sorted(names, key=lambda n: (_ORDER.get(n, len(_ORDER)), n))]
