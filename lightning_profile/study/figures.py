"""A study's figures: theory as lines, what was counted or measured as markers.

Made to be read at half the width of A4 and on a screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter

from lightning_profile.drawing.look import (
    BLACK,
    GREEN,
    ORANGE,
    PHASES,
    PURPLE,
    SKY,
    STYLE,
)
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.axes import (
    add_legend,
    draw_fit,
    draw_line,
    draw_markers,
    log_axis,
    log_time_axis,
    new_axes,
    plain_number,
    which_sizes,
)
from lightning_profile.study.rate_figure import draw_rate
from lightning_profile.study.series import RowKey
from lightning_profile.study.step_figures import draw_step_memory, draw_step_time

_CARD_COLOURS = (PURPLE, ORANGE, GREEN, SKY)
_CARD_DASHES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_DOTS_PER_INCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure that was written.

    Attributes:
        name: Of its files, without their ending; they lie in the folder of figures.
        kind: What it shows, in a word.
        layer: Layer and qualified name that it is of; ``None`` for the whole step.
        caption: What it shows.
        svg: Where it lies as SVG; a PNG lies beside it.
    """

    name: str
    kind: str
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
    with mpl.rc_context(STYLE):
        for draw in (draw_step_time, draw_step_memory):
            drawings += _written(folder, None, draw(analysis))
        for layer in analysis.in_detail:
            rows = [row for row in analysis.layer_rows if row[:2] == layer]
            for draw_layer in (_flop, _memory, _time, _fraction, draw_rate):
                drawings += _written(folder, layer, draw_layer(analysis, rows))
    return drawings


_Made = tuple[str, str, Figure] | None  # kind, caption, figure


def _written(folder: Path, layer: tuple[str, str] | None, made: _Made) -> list[Drawing]:
    if made is None:
        return []
    kind, caption, figure = made
    name = f"{'step' if layer is None else _file_name(layer)}_{kind}"
    svg = folder / f"{name}.svg"
    figure.savefig(svg, metadata={"Date": None})
    figure.savefig(svg.with_suffix(".png"), dpi=_DOTS_PER_INCH)
    return [Drawing(name=name, kind=kind, layer=layer, caption=caption, svg=svg)]


def _file_name(layer: tuple[str, str]) -> str:
    return "".join(each if each.isalnum() or each in "-." else "_" for each in layer[1] or layer[0])


def _flop(analysis: Analysis, rows: Sequence[RowKey]) -> _Made:
    figure, axes = new_axes(analysis, f"{rows[0][0]}: FLOPs of products", "FLOPs per step")
    theory = ("theoretical_flop", "theoretical")
    facts = (("counted_flop", "counted"), ("hardware_flop", "executed"))
    if not _draw_beside_theory(axes, analysis, rows, 1, theory, facts):
        return None
    log_axis(axes.yaxis, EngFormatter(sep=" "))
    add_legend(axes)
    return "flop", "FLOPs of the products per step: theory as lines, counts as markers.", figure


def _memory(analysis: Analysis, rows: Sequence[RowKey]) -> _Made:
    figure, axes = new_axes(analysis, f"{rows[0][0]}: memory", "memory / MiB")
    theory = ("theoretical_allocated_bytes", "allocated, theoretical")
    facts = (("allocated_bytes", "allocated"), ("peak_allocated_bytes", "peak"))
    if not _draw_beside_theory(axes, analysis, rows, 2**-20, theory, facts):
        return None
    log_axis(axes.yaxis, FuncFormatter(plain_number))
    add_legend(axes)
    return (
        "memory",
        "What a phase leaves allocated, open markers on theory's line, and the most that it had "
        "allocated at one moment, workspace included, full markers.",
        figure,
    )


def _draw_beside_theory(
    axes: Axes,
    analysis: Analysis,
    rows: Sequence[RowKey],
    scale: float,
    theory: tuple[str, str],
    facts: tuple[tuple[str, str], tuple[str, str]],
) -> bool:
    """Theory as a line per phase, the first fact as open markers on it, the other as full ones.

    Args:
        axes: Where.
        analysis: The study's.
        rows: The layer's phases.
        scale: Of the values.
        theory: Name of the quantity, and how the legend calls it.
        facts: Likewise.

    Returns:
        Whether there was any fact.
    """
    has_facts = False
    for row in rows:
        colour, marker = PHASES[row[2]]
        quantity, word = theory
        line = analysis.of(row, quantity)
        if line is not None and any(line.values.values()):
            draw_line(axes, line, scale, f"{row[2]}, {word}", colour)
        for (name, what), face in zip(facts, ("none", colour), strict=True):
            series = analysis.of(row, name)
            if series is not None and any(series.values.values()):
                draw_markers(axes, series, scale, f"{row[2]}, {what}", colour, marker, face=face)
                has_facts = True
    return has_facts


def _time(analysis: Analysis, rows: Sequence[RowKey]) -> _Made:
    figure, axes = new_axes(analysis, f"{rows[0][0]}: time", "time per step / s")
    drawn = False
    for row in rows:
        series = analysis.time_of(row)
        if series is None:
            continue
        drawn = True
        colour, marker = PHASES[row[2]]
        roofline = analysis.of(row, "roofline_time_ns")
        if roofline is not None:
            draw_line(axes, roofline, 1e-9, f"{row[2]}, roofline", colour)
        empirical = analysis.of(row, "empirical_roofline_time_ns")
        if empirical is not None:
            label = f"{row[2]}, empirical roofline"
            draw_line(axes, empirical, 1e-9, label, colour, dashes=":")
        title = series.quantity.title
        draw_markers(axes, series, 1e-9, f"{row[2]}, {title}", colour, marker)
        draw_fit(axes, series, 1e-9, f"{row[2]}, straight line", colour)
    projected = _projected(axes, analysis, rows)
    if not drawn:
        return None
    log_time_axis(axes)
    add_legend(axes)
    return (
        "time",
        "Time per step, median over the recorded steps with their least and greatest, above the "
        "least time that the device allows (its roofline). Dotted: the straight line through "
        f"{which_sizes(analysis)} batch sizes, curved as the axes are logarithmic."
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


def _fraction(analysis: Analysis, rows: Sequence[RowKey]) -> _Made:
    found = [(row, each) for row in rows if (each := analysis.of(row, "roofline_fraction"))]
    if not found:
        return None
    figure, axes = new_axes(analysis, f"{rows[0][0]}: fraction of the roofline", "fraction / %")
    for row, series in found:
        colour, marker = PHASES[row[2]]
        sizes = list(series.values)
        values = [100 * value for value in series.values.values()]
        axes.plot(sizes, values, color=colour, marker=marker, label=row[2], lw=0.8)
    axes.axhline(100, color=BLACK, lw=1.2)
    axes.set_ylim(
        0, max(110.0, *(110 * value for _, each in found for value in each.values.values()))
    )
    add_legend(axes)
    return (
        "roofline",
        "The least time that the device allows over the time that was taken: 100% is as fast as "
        "can be.",
        figure,
    )
