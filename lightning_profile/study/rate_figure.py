"""A layer in the plane of the roofline: its rate against its intensity, one batch size a marker.

The plane is that of Williams et al., doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter
from matplotlib.transforms import Bbox

from lightning_profile.drawing.look import BLACK, PHASES
from lightning_profile.report.units import format_rate
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.axes import (
    add_legend,
    log_axis,
    new_panel,
    plain_number,
)
from lightning_profile.study.series import RowKey

_MARGIN = 3.0  # of the intensities, to either side
_EXACT = 1e-6  # of a rate that is computed back from a time
# Of a batch size's name beside its marker, in points: phases lie close together.
_SIDES: Sequence[tuple[Literal["left", "right"], int]] = (("left", 5), ("right", -5), ("left", 5))
_HEIGHTS = (-2, 7, -11, 16, -20, 25, -29)  # likewise: the next where another name is
_Place = tuple[float, float]  # intensity in FLOP/B, rate in FLOP/s


def draw_rate(analysis: Analysis, rows: Sequence[RowKey]) -> tuple[str, str, Figure] | None:
    """Kind, caption and figure of a layer; ``None`` if its intensity or its rate is unknown."""
    places = {row: found for row in rows if (found := _places(analysis, row))}
    if not places:
        return None
    figure, axes = new_panel(f"{rows[0][0]}: rate below the roofline", "rate")
    axes.set_xlabel("arithmetic intensity / (FLOP per byte)")
    _draw_roof(axes, analysis, rows, [x for found in places.values() for x, _ in found.values()])
    for row, found in places.items():
        colour, marker = PHASES[row[2]]
        intensities, rates = zip(*found.values(), strict=True)
        axes.plot(intensities, rates, color=colour, marker=marker, lw=0.8, label=row[2], zorder=3)
    log_axis(axes.xaxis, FuncFormatter(plain_number))
    log_axis(axes.yaxis, EngFormatter(unit="FLOP/s", sep=" "))
    add_legend(axes)
    _name_ends(axes, places)
    return (
        "rate",
        "FLOPs per second against FLOPs per byte of compulsory traffic, from the smallest batch "
        "size to the largest, which are named. Above the black line nothing is possible: to the "
        "left of its bend the memory is the limit, to the right the arithmetic.",
        figure,
    )


def _name_ends(axes: Axes, places: Mapping[RowKey, Mapping[int, _Place]]) -> None:
    """The smallest and the largest batch size beside their markers, no name on another."""
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    figure.draw_without_rendering()  # now it is known which markers lie close together
    taken: list[Bbox] = []
    for (row, found), (side, right) in zip(places.items(), _SIDES, strict=False):
        for size in sorted({min(found), max(found)}):
            name = axes.annotate(
                str(size),
                found[size],
                xytext=(right, _HEIGHTS[0]),
                textcoords="offset points",
                ha=side,
                fontsize="small",
                color=PHASES[row[2]][0],
            )
            for up in _HEIGHTS:
                name.set_position((right, up))
                box = name.get_window_extent()
                if not box.count_overlaps(taken):
                    break
            taken.append(box)


def _places(analysis: Analysis, row: RowKey) -> dict[int, _Place]:
    """By batch size, where both are known."""
    intensity, rate = analysis.of(row, "flop_per_byte"), analysis.of(row, "flop_per_s")
    if intensity is None or rate is None:
        return {}
    return {
        size: (intensity.values[size], rate.values[size])
        for size in rate.values
        if intensity.values.get(size) and rate.values[size]
    }


def _draw_roof(
    axes: Axes, analysis: Analysis, rows: Sequence[RowKey], intensities: Sequence[float]
) -> None:
    ceilings = analysis.machine.ceilings
    if ceilings is None or ceilings.bytes_per_s is None:
        return
    bandwidth = ceilings.bytes_per_s
    peaks = {peak for row in rows for peak in _peaks(analysis, row, bandwidth)}
    bends = [peak / bandwidth for peak in peaks]
    first = min([*intensities, *bends]) / _MARGIN
    last = max([*intensities, *bends]) * _MARGIN
    # Without a phase that the arithmetic limits, nothing tells which peak is the layer's.
    for peak in sorted(peaks) or [bandwidth * last]:
        corners = [first, min(peak / bandwidth, last), last]
        label = f"roofline: {bandwidth / 1e9:.4g} GB/s"
        label += f", {format_rate(peak)}" if peaks else ""
        heights = [min(peak, bandwidth * each) for each in corners]
        axes.plot(corners, heights, color=BLACK, label=label, zorder=2)


def _peaks(analysis: Analysis, row: RowKey, bandwidth: float) -> set[float]:
    """The arithmetic's peak, of batch sizes whose roofline is not the memory's."""
    names = ("theoretical_flop", "roofline_time_ns", "flop_per_byte")
    flop, time, intensity = (analysis.of(row, name) for name in names)
    if flop is None or time is None or intensity is None:
        return set()
    rates = {
        size: flop.values[size] * 1e9 / time.values[size]
        for size in time.values
        if time.values[size] and size in flop.values and size in intensity.values
    }
    return {
        float(f"{rate:.6g}")  # one peak, whatever it was divided by
        for size, rate in rates.items()
        if rate < intensity.values[size] * bandwidth * (1 - _EXACT)
    }
