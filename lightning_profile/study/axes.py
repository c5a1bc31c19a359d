"""What all figures of a study have in common: axes, and how values are drawn.

No two lines differ by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    Formatter,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
)

from lightning_profile.study.analysis import Analysis
from lightning_profile.study.series import Series

_WIDTH_INCHES = 3.5
_FIRST_INCHES, _NEXT_INCHES = 3.1, 1.3  # height of a panel with title and legend, of one below it
_MARGIN = 0.05  # of the range of batch sizes, to either side
_FIT_DASHES = (0, (1.5, 2.5))
_LINE_POINTS = 60  # a straight line is none on a logarithmic axis


def new_axes(analysis: Analysis, title: str, unit: str) -> tuple[Figure, Axes]:
    """A figure of one panel over the study's batch sizes, each a tick."""
    figure, (axes,) = new_stack(analysis, title, [unit])
    return figure, axes


def new_stack(analysis: Analysis, title: str, units: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Likewise with a panel for each of the units, one below the other."""
    figure = _new_figure(_FIRST_INCHES + _NEXT_INCHES * (len(units) - 1))
    panels = list(figure.subplots(len(units), sharex=True, squeeze=False).flat)
    panels[0].set_title(title, loc="left")
    for axes, unit in zip(panels, units, strict=True):
        axes.set_ylabel(unit)
    axes.set_xlabel("batch size / samples")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([float(size) for size in analysis.batch_sizes]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(plain_number))
    # Left to itself, the axis begins far below the smallest batch size where values have bars.
    sizes = [*analysis.batch_sizes, *(each.batch_size for each in analysis.predictions)]
    margin = max(2.0, max(sizes) / min(sizes)) ** _MARGIN
    axes.set_xlim(min(sizes) / margin, max(sizes) * margin)
    return figure, panels


def new_panel(title: str, unit: str) -> tuple[Figure, Axes]:
    """A figure of one panel."""
    figure = _new_figure(_FIRST_INCHES)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left")
    axes.set_ylabel(unit)
    return figure, axes


def _new_figure(height_inches: float) -> Figure:
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_line(
    axes: Axes, series: Series, scale: float, label: str, colour: str, *, dashes: str = "-"
) -> None:
    """A line through the values, multiplied by ``scale``: theory's."""
    values = [value * scale for value in series.values.values()]
    axes.plot(list(series.values), values, color=colour, ls=dashes, label=label, zorder=2)


def draw_markers(
    axes: Axes,
    series: Series,
    scale: float,
    label: str,
    colour: str,
    marker: str,
    *,
    face: str | None = None,
) -> None:
    """Values as markers, with bars from the least to the greatest where there are several.

    Those of disturbed points are hollow, with a label of their own.
    """
    disturbed = {size: series.values[size] for size in series.disturbed if size in series.values}
    for some, what, inside in (
        (series.undisturbed, label, colour if face is None else face),
        (disturbed, f"{label}, disturbed", "none"),
    ):
        if some:
            _draw_errorbars(axes, series, some, scale, (what, colour, marker, inside))


def _draw_errorbars(
    axes: Axes,
    series: Series,
    some: Mapping[int, int | float],
    scale: float,
    look: tuple[str, str, str, str],
) -> None:
    label, colour, marker, face = look
    values = {size: value * scale for size, value in some.items()}
    bars = None
    if series.ranges:
        ends = {size: series.ranges.get(size, (series.values[size],) * 2) for size in values}
        low = [
            values[size] - (scale * least if least is not None else values[size])
            for size, (least, _) in ends.items()
        ]
        high = [
            (scale * most if most is not None else values[size]) - values[size]
            for size, (_, most) in ends.items()
        ]
        bars = [[max(0.0, each) for each in low], [max(0.0, each) for each in high]]
    axes.errorbar(
        list(values),
        list(values.values()),
        yerr=bars,
        fmt=marker,
        color=colour,
        markerfacecolor=face,
        elinewidth=0.8,
        capsize=2,
        label=label,
        zorder=3,
    )


def draw_prediction(
    axes: Axes, analysis: Analysis, series: Series, scale: float, colour: str
) -> None:
    """The line through the smaller half of the batch sizes: full there, dashed beyond."""
    for each in analysis.predictions:
        if each.series.row == series.row and each.series.quantity == series.quantity:
            line = each.line
            first, last = min(each.batch_sizes), max(each.batch_sizes)
            for start, end, style, label in (
                (first, last, "-", f"line through {first} to {last}"),
                (last, each.batch_size, "--", f"prediction of {each.batch_size}"),
            ):
                sizes = np.geomspace(start, end, _LINE_POINTS)
                values = (float(line.intercept) + float(line.slope) * sizes) * scale
                axes.plot(sizes, values, color=colour, ls=style, label=label, zorder=2)


def draw_fit(axes: Axes, series: Series, scale: float, label: str, colour: str) -> None:
    """The straight line through what was not disturbed; where it is below zero, nothing."""
    line = series.line
    if line is None:
        return
    sizes = np.geomspace(min(series.undisturbed), max(series.undisturbed), _LINE_POINTS)
    values = (float(line.intercept) + float(line.slope) * sizes) * scale
    shown = values > 0
    axes.plot(sizes[shown], values[shown], color=colour, ls=_FIT_DASHES, label=label, zorder=2)


def which_sizes(analysis: Analysis) -> str:
    """The batch sizes whose times a straight line is drawn through, in a word."""
    return "undisturbed" if analysis.disturbed else "all"


def log_time_axis(axes: Axes) -> None:
    """Seconds as ms or µs."""
    log_axis(axes.yaxis, EngFormatter(unit="s", sep=" "))
    axes.set_ylabel(axes.get_ylabel().removesuffix(" / s"))


def log_axis(axis: XAxis | YAxis, formatter: Formatter) -> None:
    """Numbers at 1, 2 and 5: powers of ten alone may be too few to read from."""
    (axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(formatter)
    axis.set_minor_formatter(NullFormatter())


def add_legend(axes: Axes) -> None:
    """A legend of all panels below the last: it never hides values."""
    figure = axes.get_figure(root=True)
    if figure is not None:  # beside the data, never over them
        found = [panel.get_legend_handles_labels() for panel in figure.axes]
        handles = [each for some, _ in found for each in some]
        labels = [each for _, some in found for each in some]
        firsts = {label: labels.index(label) for label in labels}  # of lines that mean the same
        figure.legend(
            [handles[position] for position in firsts.values()],
            list(firsts),
            loc="outside lower center",
            ncols=2,
            frameon=False,
            handlelength=1.6,
            columnspacing=1.0,
            handletextpad=0.5,
        )


def plain_number(value: float, _: object) -> str:
    """A tick's number without powers of ten; the second argument is its position."""
    return f"{value:g}"
