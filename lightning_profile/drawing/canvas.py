"""An empty picture, and a finished one as a PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from PIL import Image

from lightning_profile.drawing.look import COLOURS

_WIDTH_INCHES = 3.5  # TensorBoard's cards show images 350 pixels wide
_DOTS_PER_INCH = 100
_TITLE_POINTS = 7.5
_TITLE_CHARACTERS = 66
_KEY_LEFT = 0.01  # of the width
_KEY_INCHES = 0.135  # of a line of the legend
_FOOT_POINTS = 6.5
_FOOT_INCHES = 0.115  # of a line of the foot
_FOOT_CHARACTERS = 74
_GAP_INCHES = 0.07
_SHORT_NAME, _LONG_NAME = 32, 60  # the most characters, of two names in a line and of one
_SHADES = 5  # of each colour, where it fades into white


def new_canvas(title: str, conditions: str, panel_inches: float) -> tuple[Figure, Axes]:
    """A figure with one panel.

    Args:
        title: What is shown.
        conditions: What it is of: stage, epoch, batch size, device.
        panel_inches: Height of the panel with its title and its axis.
    """
    figure = Figure((_WIDTH_INCHES, panel_inches), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    conditions = textwrap.shorten(conditions, _TITLE_CHARACTERS, placeholder=" …")
    # The figure's own title has all of its width.
    figure.suptitle(f"{title}\n{conditions}", x=0.02, ha="left", fontsize=_TITLE_POINTS)
    return figure, axes


Key = list[tuple[Artist, str]]  # what colours and marks mean


def finish(figure: Figure, wide_key: Key, key: Key, foot: Sequence[str]) -> bytes:
    """Add what stands below the panel, where it hides nothing.

    Args:
        figure: The picture so far.
        wide_key: A line each.
        key: Two in a line, or one where the names are too wide for two.
        foot: What is not drawn, and why.

    Returns:
        A PNG.
    """
    wide_key, _ = _fitted(figure, wide_key, _LONG_NAME, most_columns=1)
    key, columns = _fitted(figure, key, _SHORT_NAME, most_columns=2)
    lines = [line for each in foot for line in textwrap.wrap(each, _FOOT_CHARACTERS)]
    foot_inches = _GAP_INCHES + _FOOT_INCHES * len(lines)
    key_inches = foot_inches + _KEY_INCHES * -(-len(key) // columns)
    below_inches = key_inches + _KEY_INCHES * len(wide_key) + _GAP_INCHES
    height_inches = figure.get_figheight() + below_inches
    figure.set_figheight(height_inches)
    below = below_inches / height_inches
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, below, 1, 1 - below)))
    _add_key(figure, wide_key, key_inches / height_inches, columns=1)
    _add_key(figure, key, foot_inches / height_inches, columns=columns)
    figure.text(
        0.02, _GAP_INCHES / 2 / height_inches, "\n".join(lines), fontsize=_FOOT_POINTS, va="bottom"
    )
    return _png(figure)


def shortened(name: str, most_characters: int = _SHORT_NAME) -> str:
    """``name`` without its middle if it is too long: its ends are what tells it from others."""
    if len(name) <= most_characters:
        return name
    tail = (most_characters - 1) // 2
    return f"{name[: most_characters - 1 - tail]}…{name[len(name) - tail :]}"


def _fitted(
    figure: Figure, key: Key, most_characters: int, *, most_columns: int
) -> tuple[Key, int]:
    """The key with names as short as the picture's width needs, and its number of columns."""
    tries = [(columns, most_characters) for columns in range(most_columns, 0, -1)]
    tries += [(1, fewer) for fewer in range(most_characters - 1, 0, -1)]
    for columns, most in tries:
        short = [(artist, shortened(name, most)) for artist, name in key]
        if _is_narrow_enough(figure, short, columns):
            break
    return short, columns


def _is_narrow_enough(figure: Figure, key: Key, columns: int) -> bool:
    canvas: Any = FigureCanvasAgg(figure)
    legend = _add_key(figure, key, 0, columns=columns)
    width = legend.get_window_extent(canvas.get_renderer()).width
    legend.remove()
    return bool(width <= (1 - 2 * _KEY_LEFT) * figure.bbox.width)


def _add_key(figure: Figure, key: Key, bottom: float, *, columns: int) -> Legend:
    legend = figure.legend(
        [artist for artist, _ in key],
        [name for _, name in key],
        loc="lower left",
        bbox_to_anchor=(_KEY_LEFT, bottom),
        ncols=columns,
        frameon=False,
        borderpad=0.2,
        borderaxespad=0,
        handlelength=1.8,
        columnspacing=1.0,
        handletextpad=0.5,
        labelspacing=0.3,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is just that
    return legend


def _png(figure: Figure) -> bytes:
    """With a palette: every byte takes TensorBoard's writer 0.1 µs of the training's process."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette())
    image = image.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _palette() -> list[int]:
    shades = [step / _SHADES for step in range(1, _SHADES + 1)]
    colours = [to_rgb(colour) for colour in COLOURS]
    mixed = [tuple(1 - a * (1 - part) for part in colour) for colour in colours for a in shades]
    return [round(255 * part) for colour in [(1.0, 1.0, 1.0), *mixed] for part in colour]
