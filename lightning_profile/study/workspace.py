"""Between which batch sizes the scratch that operators allocate and free again jumps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lightning_profile.report.units import format_bytes
from lightning_profile.study.fit import fit_line
from lightning_profile.study.point import Row

_TOLERANCE = 0.1  # scratch comes in blocks, too
_MOST = 0.5  # of a difference, to name the operator that makes it


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Two neighbouring batch sizes between which the workspace jumps.

    Attributes:
        below: The smaller.
        above: The larger.
        operator: Whose workspace makes most of the difference; empty if it can't be told.
        below_bytes: Workspace per sample at the smaller.
        above_bytes: At the larger.
    """

    below: int
    above: int
    operator: str
    below_bytes: float
    above_bytes: float

    def __str__(self) -> str:
        """Such as ``1.00 MiB, at batch size 32 20.00 KiB``."""
        whose = f", by what `{self.operator}` allocates and frees" if self.operator else ""
        return (
            f"{format_bytes(self.above_bytes)}, at batch size {self.below} "
            f"{format_bytes(self.below_bytes)}{whose}"
        )


def thresholds(rows: Mapping[int, Row]) -> list[Threshold]:
    """Where the workspace leaves one straight line for another; a constant part is no jump.

    Args:
        rows: Of a layer's phase, by ascending batch size.
    """
    known = {
        size: row.values["workspace_bytes"]
        for size, row in rows.items()
        if "workspace_bytes" in row.values
    }
    return [
        Threshold(
            below=below[-1],
            above=above[0],
            operator=_operator(rows, below[-1], above[0]),
            below_bytes=known[below[-1]] / below[-1],
            above_bytes=known[above[0]] / above[0],
        )
        for below, above in pairwise(_straight_runs(known))
    ]


def _straight_runs(values: Mapping[int, float]) -> list[list[int]]:
    """The batch sizes in as long runs as are straight, from the smallest on."""
    runs: list[list[int]] = []
    left = list(values)
    while left:
        count = next(
            count for count in range(len(left), 0, -1) if _is_straight(left[:count], values)
        )
        runs.append(left[:count])
        left = left[count:]
    return runs


def _is_straight(sizes: Sequence[int], values: Mapping[int, float]) -> bool:
    """Whether they lie on a line as workspace can have: rising, from nothing or a constant."""
    line = fit_line(sizes, [values[size] for size in sizes])
    if line is None:  # of one batch size
        return True
    if line.slope < 0 or line.intercept < -_TOLERANCE * values[sizes[0]]:
        return False
    return all(abs(values[size] - line.at(size)) <= _TOLERANCE * values[size] for size in sizes)


def _operator(rows: Mapping[int, Row], below: int, above: int) -> str:
    before, after = rows[below].temporary_bytes, rows[above].temporary_bytes
    shares = {
        operator: after.get(operator, 0) / above - before.get(operator, 0) / below
        for operator in {*before, *after}
    }
    difference = sum(shares.values())
    most = max(shares, key=lambda operator: (abs(shares[operator]), operator), default="")
    return most if difference and shares[most] / difference > _MOST else ""
