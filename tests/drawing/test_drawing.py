"""Pictures as bytes: whole, small, of one width, for few layers and for many."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from PIL import Image

from lightning_profile.drawing.bars import draw_kernels, draw_memory
from lightning_profile.drawing.look import STYLE
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
