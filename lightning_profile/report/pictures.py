"""Pictures of each window in TensorBoard, drawn beside the training and added when they are done.

They are asked for when a window is over, and added with the next one, or at the end. Of windows
that follow each other within seconds only some have pictures: to add them is a tenth of a window's
cost on a GPU, and TensorBoard would not show more of them meanwhile. The last window always has.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_profile.records import WindowResult
from lightning_profile.report.drawing_process import DrawingError, DrawingProcess
from lightning_profile.report.picture_data import picture_data
from lightning_profile.report.run_folder import RunFolder
from lightning_profile.report.tensorboard import TensorBoardReport

_FOLDER = "figures"
_GROUP = "(figures)"  # TensorBoard sorts by character, so that they come first
_MOST_AT_WORK = 2  # windows: one that is being drawn, and one that waits
_INTERVAL_S = 10.0  # the least between two windows of a stage; TensorBoard looks every 30 s
_PATIENCE_S = 5.0  # at the end of the training


@dataclass(frozen=True, slots=True)
class _Order:
    """Pictures of one window that were asked for and have not come yet, by tag."""

    step: int
    paths: dict[str, Path]


class Pictures:
    """Has the pictures of windows drawn, and adds them to TensorBoard.

    Args:
        folder: The run's; they are kept there, too.
        reports: Where they are added.
    """

    def __init__(self, folder: RunFolder, reports: Sequence[TensorBoardReport]) -> None:
        self._folder = folder
        self._reports = reports
        self._process: DrawingProcess | None = None
        self._orders: list[_Order] = []
        self._waiting: dict[str, WindowResult] = {}  # by stage, the last
        self._asked_at_s: dict[str, float] = {}
        self._is_over = False  # once it failed there are no more

    def write(self, result: WindowResult) -> None:
        """Add what is done, and have ``result`` drawn unless one just was; returns at once.

        Raises:
            DrawingError: If the process that draws has ended.
            OSError: If it can't be started.
        """
        if self._is_over:
            return
        self._add_finished()
        stage, now_s = result.stage, time.monotonic()
        self._waiting[stage] = result
        is_due = now_s - self._asked_at_s.get(stage, -math.inf) >= _INTERVAL_S
        if is_due and len(self._orders) < _MOST_AT_WORK:
            self._asked_at_s[stage] = now_s
            self._draw(self._waiting.pop(stage))

    def close(self) -> None:
        """Wait a few seconds for what is being drawn, and end the process.

        Raises:
            DrawingError: If pictures are missing.
        """
        try:
            while self._waiting and not self._is_over:
                _, result = self._waiting.popitem()
                self._draw(result)
        finally:
            self._is_over = True
            self._waiting.clear()
            process, self._process = self._process, None
            last_words = "" if process is None else process.finish(_PATIENCE_S)
            self._add_finished()
            missing = [path.name for order in self._orders for path in order.paths.values()]
            self._orders = []
        if missing:
            reason = last_words or f"they took longer than {_PATIENCE_S:.0f} s"
            raise DrawingError(f"{', '.join(missing)}: {reason}")

    def _draw(self, result: WindowResult) -> None:
        folder = (self._folder.claim() / _FOLDER).resolve()
        stage = "" if result.stage == "train" else f"{result.stage}/"
        paths, pictures = {}, []
        for kind, data in picture_data(result).items():
            path = folder / f"{result.stage}_{result.global_step:06}_{kind}.png"
            paths[f"{_GROUP}/{stage}{kind}"] = path
            pictures.append({"kind": kind, "path": str(path), "data": data})
        if not pictures:
            return
        try:
            if self._process is None:
                self._process = DrawingProcess()
            self._process.send(json.dumps(pictures).encode("utf-8"))
        except (DrawingError, OSError):
            self._is_over = True
            raise
        self._orders.append(_Order(result.global_step, paths))

    def _add_finished(self) -> None:
        for order in self._orders:
            done = {tag: path for tag, path in order.paths.items() if path.exists()}
            pictures = {tag: path.read_bytes() for tag, path in done.items()}
            for tag in done:
                del order.paths[tag]
            for report in self._reports:
                report.write_pictures(pictures, order.step)
        self._orders = [order for order in self._orders if order.paths]
