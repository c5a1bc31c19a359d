"""What the small batches say about the largest, and about the largest that fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_profile.study.departures import TOLERANCE_OF_TIMES, Departure
from lightning_profile.study.fit import Line, fit_line
from lightning_profile.study.point import Point
from lightning_profile.study.series import Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A value of the largest batch size, from the line through the smaller half.

    Attributes:
        series: The quantity.
        batch_sizes: Those that the line was drawn through.
        line: That line.
        batch_size: The largest.
        predicted: What the line says.
        measured: What it was; ``None`` if it ran out of memory.
    """

    series: Series
    batch_sizes: Sequence[int]
    line: Line
    batch_size: int
    predicted: float
    measured: float | None

    @property
    def error(self) -> float | None:
        """Predicted over measured, less 1."""
        return self.predicted / self.measured - 1 if self.measured else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The largest batch size whose training should fit in memory.

    Attributes:
        batch_size: It; the data's size if that is less.
        capacity_bytes: What the device has for this training.
        line: Of ``quantity`` over the batch size.
        batch_sizes: Those that the line was drawn through: the larger half.
        quantity: The column of what grows with the batch and must fit: on a GPU what the caching
            allocator holds, on a host the tensors of a step.
        beside_bytes: What the process held beside it, at most; 0 if it is all that must fit.
        is_all_data: Whether memory would do for more samples than the data has.
    """

    batch_size: int
    capacity_bytes: int
    line: Line
    batch_sizes: Sequence[int]
    quantity: str
    beside_bytes: int
    is_all_data: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownLimit:
    """Why the peaks that were measured tell of no largest batch size.

    Attributes:
        quantity: As in :class:`Limit`.
        batch_sizes: Likewise.
        farthest: Where they leave their line by the most; ``None`` if they lie on it and it does
            not rise.
    """

    quantity: str
    batch_sizes: Sequence[int]
    farthest: Departure | None


def predict(series: Series, largest: int) -> Prediction | None:
    """The value at ``largest`` from the smaller half of the batch sizes.

    Args:
        series: A quantity that grows.
        largest: The study's largest batch size; it may have run out of memory.

    Returns:
        The prediction; ``None`` if fewer than two smaller batch sizes were measured undisturbed,
        their line falls, or the largest was disturbed.
    """
    if largest in series.disturbed:
        return None
    measured = [size for size in series.undisturbed if size < largest]
    half = measured[: max(2, (len(measured) + 2) // 2)]
    line = fit_line(half, [series.values[size] for size in half])
    if line is None or not series.quantity.grows or line.slope < 0:
        return None
    return Prediction(
        series=series,
        batch_sizes=half,
        line=line,
        batch_size=largest,
        predicted=float(line.at(largest)),
        measured=series.values.get(largest),
    )


def predict_limit(
    points: Sequence[Point], most_samples: int | None = None
) -> Limit | UnknownLimit | None:
    """The largest batch that should fit.

    The line is that of the larger half of the batch sizes: small batches have peaks that do not
    grow with them, and how large ones grow is what counts here.

    Args:
        points: Of the study.
        most_samples: What the training data has; ``None`` if unknown.

    Returns:
        It; why there is none if the line does not rise, or one of three values or more leaves it
        by more than a tenth of the largest; ``None`` if memory or two peaks are unknown.
    """
    measured = [point for point in points if point.is_measured and point.machine is not None]
    capacities = [point.machine.capacity_bytes for point in measured if point.machine is not None]
    known = [capacity for capacity in capacities if capacity is not None]
    quantity, beside_bytes = "peak_reserved_bytes", 0
    held = _peaks(measured, quantity)
    if not held:
        # Resident memory grows in no straight line, as the C library keeps what was freed. The
        # tensors do, and the most that it was beside them will be there beside a larger batch.
        quantity = "peak_tensor_bytes"
        held, resident = _peaks(measured, quantity), _peaks(measured, "peak_resident_bytes")
        if not held or not resident:
            return None
        beside_bytes = max(0, *(resident[size] - bytes_ for size, bytes_ in held.items()))
    sizes = list(held)
    larger = sizes[min(len(sizes) // 2, len(sizes) - 2) :]
    line = fit_line(larger, [held[size] for size in larger])
    if line is None or not known:
        return None
    farthest = _farthest(line, {size: held[size] for size in larger})
    if farthest is not None or line.slope <= 0:
        return UnknownLimit(quantity=quantity, batch_sizes=larger, farthest=farthest)
    capacity = min(known)
    size = max(0, math.floor((capacity - beside_bytes - line.intercept) / line.slope))
    is_all_data = most_samples is not None and size >= most_samples
    return Limit(
        batch_size=most_samples if is_all_data and most_samples is not None else size,
        capacity_bytes=capacity,
        line=line,
        batch_sizes=larger,
        quantity=quantity,
        beside_bytes=beside_bytes,
        is_all_data=is_all_data,
    )


def _farthest(line: Line, values: Mapping[int, int]) -> Departure | None:
    """The value that leaves the line by the most; ``None`` if none does by more than a tenth.

    That is a tenth of the largest value, as the line is to be followed from there: an allocator's
    segments are much of a small batch's memory and little of a large one's.
    """
    tolerated = TOLERANCE_OF_TIMES * max(values.values())
    left = [
        Departure(batch_size=size, value=value, on_line=float(line.at(size)))
        for size, value in values.items()
        if abs(value - line.at(size)) > tolerated
    ]
    return max(left, key=lambda each: abs(each.share), default=None)


def _peaks(points: Sequence[Point], name: str) -> dict[int, int]:
    """The whole step's, by batch size; empty if one is unknown."""
    peaks = {point.batch_size: point.rows[0].values.get(name) for point in points}
    return {
        size: int(peak) for size, peak in peaks.items() if peak is not None and all(peaks.values())
    }
