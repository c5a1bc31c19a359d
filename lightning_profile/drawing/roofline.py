"""Each phase's achieved rate over its arithmetic intensity, below the roofs of the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

from lightning_profile.drawing.canvas import Key, finish, new_canvas
from lightning_profile.drawing.look import BLACK, GREY, PHASES

_NAMED = 5  # of the points, those with the longest time
_PANEL_INCHES = 2.9
_ROOF_DASHES = ("-", "--", "-.", ":")
_NUMBER_PLACES = ((5, 4), (5, -9), (-9, 4), (-9, -9), (12, -2), (-16, -2))  # in points
_TOO_CLOSE_POINTS = 9


def draw_roofline(data: Mapping[str, Any]) -> bytes:
    """A PNG of the roofline.

    Args:
        data: ``points`` with ``name``, ``phase``, ``flop_per_byte``, ``flop_per_s`` and
            ``time_ns``; ``roofs`` with ``name``, ``flop_per_s``, ``bytes_per_s`` and
            ``is_empirical``; ``conditions``; ``foot``.
    """
    points = sorted(data["points"], key=lambda point: -point["time_ns"])
    figure, axes = new_canvas(
        "Roofline: rate achieved below what the device allows", data["conditions"], _PANEL_INCHES
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("arithmetic intensity by theory / FLOP per byte")
    _limit(axes, points, data["roofs"])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(EngFormatter(unit="FLOP/s", sep=" "))
    roofs = _draw_roofs(axes, data["roofs"])
    phases = _draw_points(axes, points)
    figure.draw_without_rendering()  # now it is known which points lie on each other
    named = _number(axes, points[:_NAMED])
    return finish(figure, [*roofs, *named], phases, data["foot"])


def _draw_points(axes: Axes, points: Sequence[Any]) -> Key:
    key: Key = []
    for phase, (colour, marker) in PHASES.items():
        own = [point for point in points if point["phase"] == phase]
        if own:
            (marks,) = axes.plot(
                [point["flop_per_byte"] for point in own],
                [point["flop_per_s"] for point in own],
                ls="none",
                marker=marker,
                markerfacecolor="none",
                color=colour,
            )
            key.append((marks, phase))
    return key


def _limit(axes: Axes, points: Sequence[Any], roofs: Sequence[Any]) -> None:
    """All points, the roofs above them, and where the roofs bend if that is near."""
    intensities = [point["flop_per_byte"] for point in points]
    least, most = min(intensities), max(intensities)
    bends = [
        roof["flop_per_s"] / roof["bytes_per_s"]
        for roof in roofs
        if roof["flop_per_s"] and roof["bytes_per_s"]
    ]
    near = [bend for bend in bends if least / 100 <= bend <= 100 * most]
    axes.set_xlim(min([least, *near]) / 2.5, max([most, *near]) * 2.5)
    rates = [point["flop_per_s"] for point in points]
    tops = [roof["flop_per_s"] for roof in roofs if roof["flop_per_s"]]
    axes.set_ylim(min(rates) / 4, max([*rates, *tops]) * 2.5)


def _draw_roofs(axes: Axes, roofs: Sequence[Any]) -> Key:
    key: Key = []
    low, high = axes.get_xlim()
    for position, roof in enumerate(roofs):
        compute, traffic = roof["flop_per_s"], roof["bytes_per_s"]
        intensities = [low, high]
        if compute and traffic and low < compute / traffic < high:
            intensities.insert(1, compute / traffic)
        limits = [
            min(compute or float("inf"), traffic * each if traffic else float("inf"))
            for each in intensities
        ]
        (line,) = axes.plot(
            intensities,
            limits,
            color=GREY if roof["is_empirical"] else BLACK,
            ls=_ROOF_DASHES[position % len(_ROOF_DASHES)],
            zorder=1,
        )
        key.append((line, roof["name"]))
    return key


def _number(axes: Axes, points: Sequence[Any]) -> Key:
    """Numbers beside the points, none on another; what they stand for."""
    points_per_pixel = 72 / axes.figure.dpi
    taken: list[tuple[float, float]] = []
    key: Key = []
    for number, point in enumerate(points, start=1):
        place = (point["flop_per_byte"], point["flop_per_s"])
        x, y = axes.transData.transform(place) * points_per_pixel
        free = [
            (right, up)
            for right, up in _NUMBER_PLACES
            if all(abs(x + right - a) + abs(y + up - b) > _TOO_CLOSE_POINTS for a, b in taken)
        ]
        right, up = (free or _NUMBER_PLACES)[0]
        taken.append((x + right, y + up))
        colour, _ = PHASES[point["phase"]]
        axes.annotate(
            str(number),
            place,
            xytext=(right, up),
            textcoords="offset points",
            color=colour,
            fontsize=7,
            fontweight="bold",
        )
        mark = Line2D([], [], ls="none", marker=f"${number}$", color=colour)
        key.append((mark, point["name"]))
    return key
