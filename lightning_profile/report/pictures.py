"""Pictures of each window in TensorBoard, drawn beside the training and added when they are done.

They are asked for when a window is over. Where windows follow each other faster than they are
drawn, only some have pictures. Those that are done are added with a later window, or at the end,
and only the newest of the last seconds: to add them is a tenth of a window's cost on a GPU, and
nobody could see the others before they are outdated. The last window's always are.
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
_INTERVAL_S = 10.0  # the least between additions; TensorBoard's page looks every 30 s
_PATIENCE_S = 5.0  # at the end of the training, for each window


@dataclass(frozen=True, slots=True)
class _Order:
    """Pictures of one window that were asked for, by tag."""

    stage: str
    step: int
    paths: dict[str, Path]

    def missing(self) -> list[str]:
        """Names of those that are not drawn yet."""
        return [path.name for path in self.paths.values() if not path.exists()]


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
        self._waiting: dict[str, WindowResult] = {}  # the last of each stage, not asked for yet
        self._at_work: list[_Order] = []
        self._drawn: dict[str, _Order] = {}  # the last of each stage, not added yet
        self._added_at_s = -math.inf
        self._is_over = False  # once it failed there are no more

    def write(self, result: WindowResult) -> None:
        """Add what is done, and have ``result`` drawn; returns at once.

        Raises:
            DrawingError: If the process that draws has ended.
            OSError: If it can't be started.
        """
        if self._is_over:
            return
        self._waiting[result.stage] = result
        self._collect()
        now_s = time.monotonic()
        if self._drawn and now_s - self._added_at_s >= _INTERVAL_S:
            self._added_at_s = now_s
            self._add_drawn()
        while self._waiting and len(self._at_work) < _MOST_AT_WORK:
            self._draw(self._waiting.pop(next(iter(self._waiting))))

    def close(self) -> None:
        """Wait a few seconds for what is being drawn, and end the process.

        Raises:
            DrawingError: If pictures are missing.
        """
        faults: list[Exception] = []
        try:
            for result in self._waiting.values():
                try:
                    if not self._is_over:
                        self._draw(result)
                except Exception as fault:  # another stage's may be drawn all the same
                    faults.append(fault)
        finally:
            self._is_over = True
            self._waiting.clear()
            process, self._process = self._process, None
            patience_s = _PATIENCE_S * max(1, len(self._at_work))
            last_words = "" if process is None else process.finish(patience_s)
            self._collect()
            missing = [name for order in self._at_work for name in order.missing()]
            self._drawn |= {order.stage: order for order in self._at_work}  # some may be there
            self._at_work = []
            self._add_drawn()
        if missing:
            reason = last_words or f"they took longer than {patience_s:.0f} s"
            raise DrawingError(f"{', '.join(missing)}: {reason}")
        if faults:
            raise faults[0]

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
        self._at_work.append(_Order(result.stage, result.global_step, paths))

    def _collect(self) -> None:
        """Look which windows are drawn; of each stage only the last is still of interest."""
        unfinished = []
        for order in self._at_work:
            if order.missing():
                unfinished.append(order)
            else:
                self._drawn[order.stage] = order
        self._at_work = unfinished

    def _add_drawn(self) -> None:
        drawn, self._drawn = self._drawn, {}
        for order in drawn.values():
            pictures = {
                tag: path.read_bytes() for tag, path in order.paths.items() if path.exists()
            }
            for report in self._reports:
                report.write_pictures(pictures, order.step)
