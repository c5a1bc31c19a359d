"""Pictures as bytes: whole, small, of one width, for few layers and for many."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from PIL import Image

from lightning_profile.drawing.bars import draw_kernels, draw_memory
from lightning_profile.drawing.canvas import Key, finish, new_canvas, shortened
from lightning_profile.drawing.look import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    STYLE,
    VERMILLION,
    YELLOW,
)
from lightning_profile.drawing.roofline import draw_roofline
from lightning_profile.drawing.window import draw_window

CONDITIONS = {"conditions": "train, epoch 0, step 12, batch 128, A Device", "foot": ["A foot."]}
ROOFS = [
    {
        "name": f"peak: {name}",
        "flop_per_s": rate,
        "bytes_per_s": traffic,
        "is_empirical": name == "none",
    }
    for name, rate, traffic in (("fp32", 1e12, 1e10), ("rate", 1e12, None), ("none", None, 1e10))
]


def points(number: int) -> dict[str, Any]:
    made = [
        {
            "name": f"Conv2d-{each} {phase}, 1 ms",
            "phase": phase,
            "flop_per_byte": 1.0 + each,
            "flop_per_s": 1e9 * (1 + each),
            "time_ns": 1000 + each,
        }
        for each in range(number)
        for phase in ("forward", "recompute", "backward")
    ]
    return {"points": made, "roofs": ROOFS, **CONDITIONS}


def bars(number: int, kinds: list[str]) -> dict[str, Any]:
    rows = [
        {"name": f"Conv2d-{each} forward", "parts": dict.fromkeys(kinds, 2**20), "outline": 2**20}
        for each in range(number)
    ]
    titles = {"title": "Device time", "axis": "device time"}
    return {"rows": rows, "kinds": kinds, **titles, **CONDITIONS}


def image(draw: Callable[[Any], bytes], data: dict[str, Any]) -> Image.Image:
    with mpl.rc_context(STYLE):
        return Image.open(io.BytesIO(draw(json.loads(json.dumps(data)))))


@pytest.mark.parametrize("number", [1, 60])
def test_a_roofline_is_as_wide_as_tensorboards_cards(number: int) -> None:
    drawn = image(draw_roofline, points(number))
    assert drawn.format == "PNG"
    assert drawn.width == 350


def test_without_a_roof_the_points_are_drawn_all_the_same() -> None:
    assert image(draw_roofline, points(2) | {"roofs": []}).width == 350


@pytest.mark.parametrize("draw", [draw_memory, draw_kernels])
def test_a_picture_of_bars_grows_with_its_rows(draw: Callable[[Any], bytes]) -> None:
    few, many = (image(draw, bars(number, ["a", "b"])) for number in (1, 14))
    assert few.width == many.width == 350
    assert many.height - few.height == 13 * 20


def test_a_kind_of_kernel_has_its_colour_whatever_else_there_is() -> None:
    one = image(draw_kernels, bars(2, ["reduction"])).convert("RGB")
    several = image(draw_kernels, bars(2, ["matrix product", "reduction"])).convert("RGB")
    green = (0, 158, 115)
    for each in (one, several):
        assert green in {colour for _, colour in each.getcolors(2**20) or []}


NAMES = {
    "usual": ["mm", "copy_", "_softmax", "native_layer_norm_backward"],
    "long": [f"NativeLayerNormBackward{each}" * 3 for each in range(7)],
    "wide": ["W" * 40, "M" * 32, "a", "W" * 31, "b"],
    "odd": ["$", "a $b$ c", "$\\nothing$", "_private", "x" * 500],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_the_legends_are_within_the_picture_and_below_the_panel(names: list[str]) -> None:
    with mpl.rc_context(STYLE):
        figure, axes = new_canvas("Title", "conditions", 2.0)
        axes.set_xlabel("time")
        key: Key = [(Patch(), name) for name in names]
        finish(figure, [*key], key, ["A foot."])
    wide, narrow = (legend.get_window_extent() for legend in figure.legends)
    for box in (wide, narrow):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    (foot,) = figure.texts[-1:]
    tops = [foot.get_window_extent().y1, narrow.y1, wide.y1]
    bottoms = [narrow.y0, wide.y0, axes.get_tightbbox().y0]
    for below, above in zip(tops, bottoms, strict=True):
        assert below <= above + 2  # pixels
    for legend in figure.legends:
        assert len(legend.get_texts()) == len(names)


def test_a_name_that_is_too_long_keeps_its_ends() -> None:
    assert shortened("a" * 32) == "a" * 32
    assert shortened("begin" + "-" * 40 + "end", 9) == "begi…-end"
    assert [len(shortened("abcdefgh", most)) for most in (8, 7, 2, 1)] == [8, 7, 2, 1]


@pytest.mark.parametrize("name", ["operator", "autograd::NativeLayerNormBackward"])
def test_every_colour_of_a_bar_is_in_the_legend(name: str) -> None:
    kinds = [f"{name}{each}" * 2 for each in range(6)] + ["other"]
    drawn = image(draw_kernels, bars(1, kinds)).convert("RGB")
    panel = drawn.crop((0, 0, drawn.width, 80))
    legend = drawn.crop((0, 90, drawn.width, drawn.height))
    in_bar, in_legend = (
        {colour for _, colour in each.getcolors(2**20) or []} for each in (panel, legend)
    )
    for colour in (BLUE, YELLOW, VERMILLION, SKY, GREEN, ORANGE, GREY):
        as_bytes = tuple(round(255 * part) for part in to_rgb(colour))
        assert as_bytes in in_bar
        assert as_bytes in in_legend


@pytest.mark.parametrize("longest", ["parts", "outline"])
def test_the_longest_bar_ends_within_the_panel(
    monkeypatch: pytest.MonkeyPatch, longest: str
) -> None:
    monkeypatch.setattr("lightning_profile.drawing.bars.finish", lambda figure, *_: figure)
    data = bars(3, ["a", "b"])
    data["rows"][1] |= {"parts": {"a": 2**23, "b": 0}} if longest == "parts" else {"outline": 2**23}
    figure: Any = draw_memory(data)
    (axes,) = figure.axes
    ends = [patch.get_x() + patch.get_width() for patch in axes.patches]
    assert axes.get_xlim()[0] == 0
    assert max(ends) == 8  # MiB
    assert max(ends) < 0.98 * axes.get_xlim()[1]


def test_beside_long_names_of_rows_the_axis_has_its_label_within_the_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lightning_profile.drawing.bars.finish", lambda figure, *_: figure)
    data = bars(3, ["a"])
    data["rows"][0]["name"] = "AVeryLongNameOfAModuleOfSomeUser-12 backward"
    data["axis"] = "operators' own CPU time per step"
    with mpl.rc_context(STYLE):
        figure: Any = draw_kernels(data)
        figure.draw_without_rendering()
        label = figure.axes[0].xaxis.label.get_window_extent()
    assert figure.bbox.x0 <= label.x0 < label.x1 <= figure.bbox.x1


def test_a_picture_that_fails_does_not_stop_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pictures = [
        {"kind": "roofline", "path": str(tmp_path / "new" / "bad.png"), "data": {}},
        {"kind": "memory", "path": str(tmp_path / "new" / "good.png"), "data": bars(1, ["a"])},
    ]
    draw_window(json.dumps(pictures).encode())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["good.png"]
    assert "KeyError: 'points'" in capfd.readouterr().err
