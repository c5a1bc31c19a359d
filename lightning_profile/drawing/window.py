"""All pictures of one window, from a line of JSON to files."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import matplotlib as mpl

from lightning_profile.drawing.bars import draw_kernels, draw_memory
from lightning_profile.drawing.look import STYLE
from lightning_profile.drawing.roofline import draw_roofline

_DRAW = {"roofline": draw_roofline, "memory": draw_memory, "kernels": draw_kernels}


def draw_window(line: bytes) -> None:
    """Write every picture that ``line`` asks for; one that fails is told on stderr.

    Args:
        line: A JSON list of pictures: the ``kind``, the ``path`` of the PNG, and its ``data``.
    """
    with mpl.rc_context(STYLE):
        for picture in json.loads(line):
            try:
                _write(Path(picture["path"]), _DRAW[picture["kind"]](picture["data"]))
            except Exception:
                traceback.print_exc()


def _write(path: Path, png: bytes) -> None:
    """At one moment: who sees the file sees all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(png)
    unfinished.replace(path)
