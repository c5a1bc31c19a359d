"""A straight line through points, in rational arithmetic: exact numbers stay exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

_ALMOST_ONE = 0.99999
Number = int | float | Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The straight line with the least squared distance from the points.

    Attributes:
        slope: What each sample of the batch adds, in the unit of the values.
        intercept: What there is beside the samples, in the same unit.
        r_squared: The part of the values' variance that the line explains: 1 for points on a
            line, the parallel to the axis included; ``None`` for fewer than three, which say
            nothing about it.
    """

    slope: Fraction
    intercept: Fraction
    r_squared: Fraction | None

    def at(self, batch_size: int) -> Fraction:
        """Its value at ``batch_size``."""
        return self.intercept + self.slope * batch_size

    @property
    def is_exact(self) -> bool:
        """Whether all points, three at least, lie on it."""
        return self.r_squared == 1


def fit_line(batch_sizes: Sequence[int], values: Sequence[Number]) -> Line | None:
    """The least-squares line; ``None`` for fewer than two batch sizes.

    Args:
        batch_sizes: Where the values were taken.
        values: In any unit; floats are taken for the rational numbers that they are.
    """
    if len(set(batch_sizes)) < 2:
        return None
    count = len(batch_sizes)
    exact = [Fraction(value) for value in values]
    mean_x, mean_y = Fraction(sum(batch_sizes), count), sum(exact, Fraction(0)) / count
    deviations = [(x - mean_x, y - mean_y) for x, y in zip(batch_sizes, exact, strict=True)]
    slope = sum((dx * dy for dx, dy in deviations), Fraction(0)) / sum(
        (dx * dx for dx, _ in deviations), Fraction(0)
    )
    return Line(
        slope=slope,
        intercept=mean_y - slope * mean_x,
        r_squared=_r_squared(deviations, slope) if count > 2 else None,
    )


def show_r_squared(line: Line | None) -> str:
    """Such as ``0.99871``; ``1`` is for values that lie on the line exactly, and for no others."""
    if line is None or line.r_squared is None:
        return ""
    return "1" if line.is_exact else f"{min(float(line.r_squared), _ALMOST_ONE):.5f}"


def straight_part(
    batch_sizes: Sequence[int], values: Sequence[Number], tolerance: float
) -> tuple[list[int], Line] | None:
    """The most batch sizes, from the smallest on, whose values lie on a line of their own.

    Args:
        batch_sizes: Ascending.
        values: At these.
        tolerance: How far a value may be from the line, as a part of the value.

    Returns:
        At least three batch sizes and their line; ``None`` if there are no three.
    """
    for count in range(len(batch_sizes), 2, -1):
        some = list(batch_sizes[:count])
        line = fit_line(some, values[:count])
        if line is not None and all(
            abs(Fraction(value) - line.at(size)) <= tolerance * abs(Fraction(value))
            for size, value in zip(some, values[:count], strict=True)
        ):
            return some, line
    return None


def _r_squared(deviations: Sequence[tuple[Fraction, Fraction]], slope: Fraction) -> Fraction:
    total = sum((dy * dy for _, dy in deviations), Fraction(0))
    left = sum(((dy - slope * dx) ** 2 for dx, dy in deviations), Fraction(0))
    return Fraction(1) if left == 0 else 1 - left / total
