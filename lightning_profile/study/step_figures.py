"""The figures of the whole training step: its wall time, and the peaks of memory."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lightning_profile.drawing.look import BLACK, BLUE, GREEN, PURPLE, SKY, VERMILLION
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.axes import (
    add_legend,
    draw_fit,
    draw_markers,
    draw_prediction,
    log_axis,
    log_time_axis,
    new_axes,
    new_stack,
    plain_number,
    which_sizes,
)

_ROOM_ABOVE = 1.1  # times the largest value, so that its marker is seen


def draw_step_time(analysis: Analysis) -> tuple[str, str, Figure] | None:
    """Kind, caption and figure of the wall time; ``None`` if it is unknown."""
    series = analysis.time_of(analysis.step) if analysis.step in analysis.rows else None
    if series is None:
        return None
    figure, axes = new_axes(analysis, "Wall time of a training step", "wall time / s")
    draw_prediction(axes, analysis, series, 1e-9, SKY)
    draw_fit(axes, series, 1e-9, f"straight line through {which_sizes(analysis)}", BLACK)
    draw_markers(axes, series, 1e-9, "measured", BLACK, "o")
    log_time_axis(axes)
    add_legend(axes)
    lines = (
        ""
        if series.line is None
        else f", and straight lines through {which_sizes(analysis)} batch sizes and through the "
        "smaller half of them, curved as the axes are logarithmic"
    )
    return (
        "time",
        f"Wall time of a training step that nobody recorded{lines}. Bars: least and greatest of "
        "several blocks of steps.",
        figure,
    )


def draw_step_memory(analysis: Analysis) -> tuple[str, str, Figure] | None:
    """Likewise of the peaks of memory; the process's own, if known, in a panel of its own."""
    names = (
        "peak_tensor_bytes",
        "peak_allocated_bytes",
        "peak_reserved_bytes",
        "peak_resident_bytes",
    )
    found = [each for name in names if (each := analysis.of(analysis.step, name)) is not None]
    if not found:
        return None
    growing = [series for series in found if series.quantity.grows]
    # Python and torch are in the others, many times what a step's tensors need: from zero on.
    others = [series for series in found if not series.quantity.grows]
    units = [*["memory / MiB"] * bool(growing), *["resident memory / GiB"] * bool(others)]
    figure, panels = new_stack(analysis, "Peak memory of the training", units)
    looks = iter(((BLUE, "o"), (VERMILLION, "s"), (GREEN, "^"), (PURPLE, "D")))
    for series, (colour, marker) in zip(growing, looks, strict=False):
        draw_prediction(panels[0], analysis, series, 2**-20, colour)
        draw_markers(panels[0], series, 2**-20, series.quantity.title, colour, marker)
    if growing:
        log_axis(panels[0].yaxis, FuncFormatter(plain_number))
    for series, (colour, marker) in zip(others, looks, strict=False):
        draw_markers(panels[-1], series, 2**-30, series.quantity.title, colour, marker)
        panels[-1].set_ylim(0, _ROOM_ABOVE * 2**-30 * max(series.values.values()))
    add_legend(panels[0])
    return (
        "memory",
        "Peaks of memory: of all tensors that a step makes, and of the whole training as the "
        "allocator or the operating system counts it. The straight line is through the smaller "
        "half of the batch sizes, curved where an axis is logarithmic.",
        figure,
    )
