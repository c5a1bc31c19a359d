"""One quantity of one row over the batch sizes, its straight line, and theory's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lightning_profile.report.columns import OPTIMIZER_NAME, REST_NAME
from lightning_profile.study.disturbance import is_disturbed
from lightning_profile.study.fit import Line, fit_line
from lightning_profile.study.point import STEP_NAME, Point, Row
from lightning_profile.study.quantities import Quantity, in_order

_TIMES = ("device_time_ns", "cpu_time_ns", "wall_time_ns")
_IN_WORDS = {
    STEP_NAME: "the training step",
    OPTIMIZER_NAME: "the optimizer",
    REST_NAME: "the rest of the step",
}
RowKey = tuple[str, str, str]  # layer, qualified name, phase


@dataclass(frozen=True, kw_only=True)
class Series:
    """One quantity of one row.

    Attributes:
        row: Layer, qualified name and phase.
        quantity: Which.
        values: By batch size, ascending, in the unit that the quantity's name says; those where it
            is unknown are left out.
        ranges: The least and the greatest over the recorded steps, by batch size.
        theory: Theory's values of the same thing; empty if there is none.
        disturbed: Batch sizes at which the machine did other things, too, and a clock gave the
            value: it is shown, and nothing is concluded from it.
    """

    row: RowKey
    quantity: Quantity
    values: Mapping[int, int | float]
    ranges: Mapping[int, tuple[float, float]]
    theory: Mapping[int, int | float]
    disturbed: Collection[int] = ()

    @property
    def name(self) -> str:
        """Layer and phase, such as ``Conv2d-2 forward``."""
        return row_name(self.row)

    @cached_property
    def undisturbed(self) -> Mapping[int, int | float]:
        """The values that tell of the training alone."""
        return {size: each for size, each in self.values.items() if size not in self.disturbed}

    @cached_property
    def line(self) -> Line | None:
        """That of the undisturbed; ``None`` for what no theory has grow, or too few values."""
        if not self.quantity.grows:
            return None
        return fit_line(list(self.undisturbed), list(self.undisturbed.values()))

    @cached_property
    def theory_line(self) -> Line | None:
        """That of theory."""
        return fit_line(list(self.theory), list(self.theory.values()))


def row_name(row: RowKey) -> str:
    """Layer and phase, such as ``Conv2d-2 forward``; what is no layer in words."""
    layer, _, phase = row
    return f"{layer} {phase}" if phase else _IN_WORDS.get(layer, layer)


def rows_by_key(points: Sequence[Point]) -> dict[RowKey, dict[int, Row]]:
    """The rows of measured points by layer and phase, then by batch size, in the points' order."""
    rows: dict[RowKey, dict[int, Row]] = {}
    for point in points:
        for row in point.rows if point.is_measured else ():
            key = row.layer, row.qualified_name, row.phase
            rows.setdefault(key, {})[point.batch_size] = row
    return rows


def build_series(points: Sequence[Point]) -> list[Series]:
    """All quantities of all rows, in the points' order of rows and the order of quantities."""
    disturbed = [each.batch_size for each in points if each.is_measured and is_disturbed(each)]
    return [
        _series(key, quantity, by_size, disturbed)
        for key, by_size in rows_by_key(points).items()
        for quantity in in_order({name for row in by_size.values() for name in row.values})
    ]


def _series(
    key: RowKey, quantity: Quantity, rows: Mapping[int, Row], disturbed: Sequence[int]
) -> Series:
    def column(name: str | None) -> dict[int, int | float]:
        return {
            size: row.values[name]
            for size, row in rows.items()
            if name is not None and name in row.values
        }

    return Series(
        row=key,
        quantity=quantity,
        values=column(quantity.name),
        ranges={
            size: row.ranges[quantity.name]
            for size, row in rows.items()
            if quantity.name in row.ranges
        },
        theory=column(quantity.theory),
        disturbed=disturbed if quantity.is_clocked else (),
    )


def time_column(rows: Mapping[int, Row]) -> str | None:
    """The column of a row's time: of the device where there is one, else of the CPU."""
    return next((name for name in _TIMES if any(name in row.values for row in rows.values())), None)
