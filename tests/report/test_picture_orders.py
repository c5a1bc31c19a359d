"""Which windows are drawn, and which of them TensorBoard gets, whatever is slow or fails."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_profile.report import pictures as module
from lightning_profile.report.drawing_process import DrawingError
from lightning_profile.report.pictures import Pictures
from lightning_profile.report.run_folder import RunFolder

Name = tuple[str, int]  # of a window: its stage and its step


class Drawer:
    """Stands in for the process that draws: when it is told to."""

    made: list[Drawer]
    draws_at_the_end = True

    def __init__(self) -> None:
        self.asked: list[Path] = []
        self.patience_s = 0.0
        self.made.append(self)

    def send(self, line: bytes) -> None:
        self.asked += [Path(each["path"]) for each in json.loads(line)]

    def finish(self, patience_s: float) -> str:
        self.patience_s = patience_s
        if self.draws_at_the_end:
            self.draw()
        return ""

    def draw(self, limit: int | None = None) -> None:
        for path in self.asked[:limit]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"PNG")

    def names(self) -> list[Name]:
        return [(stage, int(step)) for stage, step, _ in (p.stem.split("_") for p in self.asked)]


class Clock:
    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


class Board:
    """Notes what TensorBoard is given."""

    def __init__(self) -> None:
        self.added: list[Name] = []

    def write_pictures(self, pictures: dict[str, bytes], step: int) -> None:
        self.added += [("validate" if "validate" in tag else "train", step) for tag in pictures]


class Setting:
    """Pictures with a clock, a process and a board that are looked at."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.board = Clock(), Board()
        self.broken: set[Name] = set()
        Drawer.made = []
        monkeypatch.setattr(module, "time", self.clock)
        monkeypatch.setattr(module, "DrawingProcess", Drawer)
        monkeypatch.setattr(module, "picture_data", self._data)
        reports: list[Any] = [self.board]
        self.pictures = Pictures(RunFolder(folder, "run"), reports)

    def _data(self, result: Any) -> dict[str, Any]:
        if (result.stage, result.global_step) in self.broken:
            raise ValueError("broken")
        return {"roofline": {}}

    def window(self, stage: str, step: int) -> None:
        result: Any = SimpleNamespace(stage=stage, global_step=step)
        self.pictures.write(result)

    @property
    def drawer(self) -> Drawer:
        (only,) = Drawer.made
        return only


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(tmp_path, monkeypatch)


def test_two_windows_at_most_are_at_work_and_the_last_of_each_stage_waits(
    setting: Setting,
) -> None:
    for step in range(1, 6):
        setting.window("train", step)
        setting.window("validate", step)
    assert setting.drawer.names() == [("train", 1), ("validate", 1)]
    setting.drawer.draw()
    setting.window("train", 6)
    assert setting.drawer.names()[2:] == [("train", 6), ("validate", 5)]
    setting.pictures.close()
    assert setting.board.added[:2] == [("train", 1), ("validate", 1)]
    assert setting.board.added[2:] == [("train", 6), ("validate", 5)]


def test_a_stage_that_waits_is_drawn_with_the_next_window_of_any(setting: Setting) -> None:
    setting.window("train", 1)
    setting.window("train", 2)
    setting.window("validate", 2)  # finds no room
    setting.drawer.draw()
    setting.window("train", 3)
    assert ("validate", 2) in setting.drawer.names()


def test_what_is_added_within_seconds_is_the_newest(setting: Setting) -> None:
    for step in range(1, 26):
        setting.clock.now_s = step
        setting.window("train", step)
        setting.drawer.draw()
    assert len(setting.drawer.names()) == 25
    assert setting.board.added == [("train", 1), ("train", 11), ("train", 21)]
    setting.pictures.close()
    assert setting.board.added[3:] == [("train", 25)]


def test_at_the_end_there_is_patience_for_each_window(setting: Setting) -> None:
    setting.window("train", 1)
    setting.window("train", 2)
    setting.window("train", 3)
    setting.pictures.close()
    assert setting.drawer.patience_s == 3 * module._PATIENCE_S
    assert setting.board.added[-1] == ("train", 3)


def test_at_the_end_a_stage_that_fails_leaves_the_other_its_pictures(setting: Setting) -> None:
    for step in (1, 2):
        setting.window("train", step)
    setting.window("train", 3)
    setting.window("validate", 3)
    setting.broken.add(("train", 3))
    with pytest.raises(ValueError, match="broken"):
        setting.pictures.close()
    assert ("validate", 3) in setting.board.added


def test_a_window_that_fails_leaves_the_next_its_pictures(setting: Setting) -> None:
    setting.broken.add(("train", 1))
    with pytest.raises(ValueError, match="broken"):
        setting.window("train", 1)
    setting.window("train", 2)
    assert setting.drawer.names() == [("train", 2)]


def test_pictures_that_never_came_are_named(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drawer, "draws_at_the_end", False)
    monkeypatch.setattr(module, "picture_data", lambda result: {"memory": {}, "roofline": {}})
    setting.window("train", 7)
    setting.drawer.draw(limit=1)
    with pytest.raises(DrawingError, match=r"^train_000007_roofline\.png: they took longer"):
        setting.pictures.close()
    assert setting.board.added == [("train", 7)]  # the other one
    setting.window("train", 8)  # there are none any more
    assert set(setting.drawer.names()) == {("train", 7)}
