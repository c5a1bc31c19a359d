"""A study's figures: theory as lines, what was counted or measured as markers.

Made to be read at half the width of A4 and on a screen. The colours are those of Okabe and Ito
(Color Universal Design, https://jfly.uni-koeln.de/color/), and no two lines differ by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, NullLocator

from lightning_profile.study.analysis import Analysis
from lightning_profile.study.series import RowKey, Series

_BLACK, _ORANGE, _SKY, _GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
_BLUE, _VERMILLION, _PURPLE = "#0072B2", "#D55E00", "#CC79A7"
_PHASES = {"forward": (_BLUE, "o"), "backward": (_VERMILLION, "s"), "recompute": (_GREEN, "^")}
_CARD_COLOURS = (_PURPLE, _ORANGE, _GREEN, _SKY)
_CARD_DASHES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_INCHES = (3.5, 3.1)
_DOTS_PER_INCH = 200
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "legend.fontsize": 6.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "svg.hashsalt": "lightning_profile",  # the same figure gives the same file
    "figure.facecolor": "white",
}
_LINE_POINTS = 60  # a straight line is none on a logarithmic axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure that was written.

    Attributes:
        name: Of its files, without their ending; they lie in the folder of figures.
        layer: Layer and qualified name that it is of; ``None`` for the whole step.
        caption: What it shows.
        svg: Where it lies as SVG; a PNG lies beside it.
    """

    name: str
    layer: tuple[str, str] | None
    caption: str
    svg: Path


def draw_figures(analysis: Analysis, folder: Path) -> list[Drawing]:
    """Write the figures of the whole step and of the layers in detail, as SVG and PNG.

    Raises:
        OSError: If a file can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawings = []
    with mpl.rc_context(_STYLE):
        for draw in (_step_time, _step_memory):
            drawings += _written(folder, None, draw(analysis))
        for layer in analysis.in_detail:
            rows = [row for row in analysis.layer_rows if row[:2] == layer]
            for draw_layer in (_flop, _memory, _time, _rate):
                drawings += _written(folder, layer, draw_layer(analysis, rows))
    return drawings


_Made = tuple[str, str, Figure] | None  # name, caption, figure


def _written(folder: Path, layer: tuple[str, str] | None, made: _Made) -> list[Drawing]:
    if made is None:
        return []
    kind, caption, figure = made
    name = kind if layer is None else f"{_file_name(layer)}_{kind}"
    svg = folder / f"{name}.svg"
    figure.savefig(svg, metadata={"Date": None})
    figure.savefig(svg.with_suffix(".png"), dpi=_DOTS_PER_INCH)
    return [Drawing(name=name, layer=layer, caption=caption, svg=svg)]


def _file_name(layer: tuple[str, str]) -> str:
    return "".join(each if each.isalnum() or each in "-." else "_" for each in layer[1] or layer[0])


def _step_time(analysis: Analysis) -> _Made:
    series = analysis.time_of(analysis.step) if analysis.step in analysis.rows else None
    if series is None:
        return None
    figure, axes = _axes(analysis, "Wall time of a training step", "wall time / s")
    _prediction(axes, analysis, series, 1e-9)
    _markers(axes, series, 1e-9, "measured", _BLACK, "o")
    _log_time(axes)
    _legend(axes)
    return (
        "step_time",
        "Wall time of a training step that nobody recorded, and the straight line through the "
        "smaller half of the batch sizes. Bars: least and greatest of several blocks of steps.",
        figure,
    )


def _step_memory(analysis: Analysis) -> _Made:
    names = ("peak_allocated_bytes", "peak_reserved_bytes", "peak_resident_bytes")
    found = [each for name in names if (each := analysis.of(analysis.step, name)) is not None]
    if not found:
        return None
    figure, axes = _axes(analysis, "Peak memory of the training", "memory / GiB")
    for series, colour, marker in zip(found, (_BLUE, _VERMILLION), ("o", "s"), strict=False):
        _prediction(axes, analysis, series, 2**-30)
        _markers(axes, series, 2**-30, series.quantity.title, colour, marker)
    top = 1.15 * max(value for series in found for value in series.values.values()) * 2**-30
    axes.set_ylim(0, top)
    _legend(axes)
    return (
        "step_memory",
        "Peak memory over the training, and the straight line through the smaller half of the "
        "batch sizes.",
        figure,
    )


def _flop(analysis: Analysis, rows: Sequence[RowKey]) -> _Made:
    figure, axes = _axes(analysis, f"{rows[0][0]}: FLOPs of products", "FLOPs per step")
    drawn = False
    for row in rows:
        colour, marker = _PHASES[row[2]]
        theory = analysis.of(row, "theoretical_flop")
        if theory is not None and any(theory.values.values()):
            _line(axes, theory, 1, f"{row[2]}, theoretical", colour)
        for name, word, face in (
            ("counted_flop", "counted", "none"),
            ("hardware_flop", "executed", colour),
        ):
            series = analysis.of(row, name)
            if series is not None and any(series.values.values()):
                _markers(axes, series, 1, f"{row[2]}, {word}", colour, marker, face=face)
                drawn = True
    if not drawn:
        return None
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
    _legend(axes)
    return "flop", "FLOPs of the products per step: theory as lines, counts as markers.", figure


def _memory(analysis: Analysis, rows: Sequence[RowKey]) -> _Made:
    figure, axes = _axes(analysis, f"{rows[0][0]}: memory", "memory / MiB")
    drawn = False
    for row in rows:
        colour, marker = _PHASES[row[2]]
        theory = analysis.of(row, "theoretical_allocated_bytes")
        if theory is not None and any(theory.values.values()):
            _line(axes, theory, 2**-20, f"{row[2]}, allocated, theoretical", colour)
        for name, word, face in (
            ("allocated_bytes", "allocated", "none"),
            ("peak_allocated_bytes", "peak", colour),
        ):
            series = analysis.of(row, name)
            if series is not None and any(series.values.values()):
                _markers(axes, series, 2**-20, f"{row[2]}, {word}", colour, marker, face=face)
                drawn = True
    if not drawn:
        return None
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    _legend(axes)
    return (
        "memory",
        "What a phase leaves allocated, open markers on theory's line, and the most that it had "
        "allocated at one moment, workspace included, full markers.",
        figure,
    )


def _time(analysis: Analysis, rows: Sequence[RowKey]) -> _Made:
    figure, axes = _axes(analysis, f"{rows[0][0]}: time", "time per step / s")
    drawn = False
    for row in rows:
        series = analysis.time_of(row)
        if series is None:
            continue
        drawn = True
        colour, marker = _PHASES[row[2]]
        roofline = analysis.of(row, "roofline_time_ns")
        if roofline is not None:
            _line(axes, roofline, 1e-9, f"{row[2]}, roofline", colour)
        title = series.quantity.title
        _markers(axes, series, 1e-9, f"{row[2]}, {title}", colour, marker)
    projected = _projected(axes, analysis, rows)
    if not drawn:
        return None
    _log_time(axes)
    _legend(axes)
    return (
        "time",
        "Time per step, median over the recorded steps with their least and greatest, above the "
        "least time that the device allows (its roofline)."
        + (
            f" Projections, of both phases together, were not measured: {projected}."
            if projected
            else ""
        ),
        figure,
    )


def _projected(axes: Axes, analysis: Analysis, rows: Sequence[RowKey]) -> str:
    """Lines of the layer's rooflines on other devices, its phases together; their names."""
    totals: dict[str, dict[int, float]] = {}
    for each in analysis.projections:
        if each.row in rows:
            total = totals.setdefault(each.card.name, {})
            for size, time_ns in each.times_ns.items():
                total[size] = total.get(size, 0.0) + time_ns
    cards: dict[tuple[tuple[int, float], ...], list[str]] = {}  # some differ in memory only
    for name, total in totals.items():
        cards.setdefault(tuple(total.items()), []).append(name)
    for (times, names), colour, dashes in zip(
        cards.items(), _CARD_COLOURS, _CARD_DASHES, strict=False
    ):
        sizes, seconds = [size for size, _ in times], [time_ns * 1e-9 for _, time_ns in times]
        label = f"projection: {names[0]}{' …' if len(names) > 1 else ''}"
        axes.plot(sizes, seconds, color=colour, ls=dashes, label=label)
    return ", ".join(totals)


def _rate(analysis: Analysis, rows: Sequence[RowKey]) -> _Made:
    found = [(row, each) for row in rows if (each := analysis.of(row, "roofline_fraction"))]
    if not found:
        return None
    figure, axes = _axes(analysis, f"{rows[0][0]}: fraction of the roofline", "fraction / %")
    for row, series in found:
        colour, marker = _PHASES[row[2]]
        sizes = list(series.values)
        values = [100 * value for value in series.values.values()]
        axes.plot(sizes, values, color=colour, marker=marker, label=row[2], lw=0.8)
    axes.axhline(100, color=_BLACK, lw=1.2)
    axes.set_ylim(
        0, max(110.0, *(110 * value for _, each in found for value in each.values.values()))
    )
    _legend(axes)
    return (
        "roofline",
        "The least time that the device allows over the time that was taken: 100% is as fast as "
        "can be.",
        figure,
    )


def _axes(analysis: Analysis, title: str, unit: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left")
    axes.set_xlabel("batch size / samples")
    axes.set_ylabel(unit)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([float(size) for size in analysis.batch_sizes]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    return figure, axes


def _line(axes: Axes, series: Series, scale: float, label: str, colour: str) -> None:
    values = [value * scale for value in series.values.values()]
    axes.plot(list(series.values), values, color=colour, ls="-", label=label, zorder=2)


def _markers(
    axes: Axes,
    series: Series,
    scale: float,
    label: str,
    colour: str,
    marker: str,
    *,
    face: str | None = None,
) -> None:
    """Values as markers, with bars from the least to the greatest where there are several."""
    values = {size: value * scale for size, value in series.values.items()}
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
        markerfacecolor=colour if face is None else face,
        elinewidth=0.8,
        capsize=2,
        label=label,
        zorder=3,
    )


def _prediction(axes: Axes, analysis: Analysis, series: Series, scale: float) -> None:
    """The line through the smaller half of the batch sizes: full there, dashed beyond."""
    for each in analysis.predictions:
        if each.series.row == series.row and each.series.quantity == series.quantity:
            line = each.line
            first, last = min(each.batch_sizes), max(each.batch_sizes)
            colour = _SKY if series.quantity.unit == "ns" else _ORANGE
            for start, end, style, label in (
                (first, last, "-", "line through these"),
                (last, each.batch_size, "--", "prediction"),
            ):
                sizes = np.geomspace(start, end, _LINE_POINTS)
                values = (float(line.intercept) + float(line.slope) * sizes) * scale
                axes.plot(sizes, values, color=colour, ls=style, label=label, zorder=2)


def _log_time(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(EngFormatter(unit="s", sep=" "))
    axes.set_ylabel(axes.get_ylabel().removesuffix(" / s"))


def _legend(axes: Axes) -> None:
    figure = axes.get_figure(root=True)
    if figure is not None:  # beside the data, never over them
        figure.legend(
            loc="outside lower center",
            ncols=2,
            frameon=False,
            handlelength=1.6,
            columnspacing=1.0,
            handletextpad=0.5,
        )


def _plain(value: float, _: object) -> str:
    return f"{value:g}"
