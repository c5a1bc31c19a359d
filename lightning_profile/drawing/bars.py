"""Rows of stacked bars: what parts an amount has, beside what theory says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator

from lightning_profile.drawing.canvas import Key, finish, new_canvas, shortened
from lightning_profile.drawing.look import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
)

# Neighbours in a bar differ in lightness too.
_COLOURS = (BLUE, YELLOW, VERMILLION, SKY, GREEN, ORANGE, PURPLE)
_OF_KIND = {  # so that a kind looks the same in every window
    "matrix product": BLUE,
    "transform": SKY,
    "layout conversion": ORANGE,
    "reduction": GREEN,
    "elementwise or bias": VERMILLION,
    "memset or copy": PURPLE,
    "communication": YELLOW,
    "other": GREY,
}
_ROW_INCHES = 0.2
_FRAME_INCHES = 0.8  # title, axis and its label
_RIGHT_MARGIN = 1.04  # times the longest bar, so that its end is seen
_MOST_TICKS = 4  # beside names of rows that leave half of the width
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def draw_memory(data: Mapping[str, Any]) -> bytes:
    """A PNG of what each phase allocated, by what it was for.

    Args:
        data: ``rows`` with ``name``, ``parts`` (bytes by kind) and ``outline`` (theory's bytes);
            ``kinds`` in the order in which they are stacked; ``conditions``; ``foot``.
    """
    rows = data["rows"]
    most = max(max(sum(row["parts"].values()), row["outline"]) for row in rows)
    power = 0
    while most >= 1024 ** (power + 1) and power < len(_BINARY) - 1:
        power += 1
    figure, axes = _draw(data, "Memory handed out, by what it was for", 1024**-power)
    axes.set_xlabel(f"bytes of all blocks per step / {_BINARY[power]}", loc="right")
    outlines = [row["outline"] / 1024**power for row in rows]
    axes.barh(range(len(rows)), outlines, height=0.86, fc="none", ec=BLACK, lw=1.0, zorder=3)
    outline = Patch(fc="none", ec=BLACK, lw=1.0)
    key = [(outline, "tensors by theory"), *_key(data["kinds"])]
    return finish(figure, [], key, data["foot"])


def draw_kernels(data: Mapping[str, Any]) -> bytes:
    """A PNG of where each phase's time went.

    Args:
        data: ``rows`` with ``name`` and ``parts`` (ns by kind); ``kinds`` in the order in which
            they are stacked; ``title``; ``axis``; ``conditions``; ``foot``.
    """
    figure, axes = _draw(data, data["title"], 1e-9)
    axes.set_xlabel(data["axis"], loc="right")
    axes.xaxis.set_major_formatter(EngFormatter(unit="s", sep=" "))
    return finish(figure, [], _key(data["kinds"]), data["foot"])


def _draw(data: Mapping[str, Any], title: str, scale: float) -> tuple[Figure, Axes]:
    rows, kinds = data["rows"], data["kinds"]
    height_inches = _FRAME_INCHES + _ROW_INCHES * len(rows)
    figure, axes = new_canvas(title, data["conditions"], height_inches)
    left = [0.0] * len(rows)
    for kind, colour in _colours(kinds):
        widths = [row["parts"].get(kind, 0) * scale for row in rows]
        axes.barh(range(len(rows)), widths, left=left, height=0.6, fc=colour, zorder=2)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [shortened(row["name"]) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
    longest = max(max(sum(row["parts"].values()), row.get("outline", 0)) for row in rows)
    axes.set_xlim(0, _RIGHT_MARGIN * scale * (longest or 1))
    axes.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS))
    axes.grid(visible=False, axis="y")
    return figure, axes


def _colours(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """A colour each; what there is no colour for is grey."""
    colours = [*_COLOURS, *[GREY] * len(kinds)]
    return [
        (kind, _OF_KIND.get(kind, colour)) for kind, colour in zip(kinds, colours, strict=False)
    ]


def _key(kinds: Sequence[str]) -> Key:
    return [(Patch(fc=colour), kind) for kind, colour in _colours(kinds)]
