"""A study's folder: what it was set to do, and its points. What is there is not measured again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lightning_profile.report import new_version, whole_lines
from lightning_profile.study.point import Point, read_point

_SETTINGS, _POINTS, _LOCK = "settings.json", "points", ".study.lock"
_FORMAT = 1


class StudyFolder:
    """One ``version_N`` in the folder of studies, held until it is left.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def point_path(self, batch_size: int, *, is_trial: bool = False) -> Path:
        """Where a point is kept."""
        kind = "trial" if is_trial else "batch_size"
        return self.path / _POINTS / f"{kind}_{batch_size}.json"

    def point(self, batch_size: int, *, is_trial: bool = False) -> Point | None:
        """A point that need not be measured again; ``None`` if it is missing, or failed."""
        point = read_point(self.point_path(batch_size, is_trial=is_trial))
        return None if point is None or point.status == "failed" else point


@contextmanager
def open_study(
    root: Path, settings: Mapping[str, Any], *, continue_earlier: bool
) -> Iterator[StudyFolder]:
    """The newest study in ``root`` with these settings that no process works on, or a new one.

    Args:
        root: Where studies of this kind lie.
        settings: What all points have in common; anything that JSON can hold.
        continue_earlier: Whether an earlier study will do.

    Raises:
        OSError: If the folder can't be made.
    """
    text = json.dumps({"format": _FORMAT, "settings": settings}, indent=1, default=str) + "\n"
    for path in [*_with_settings(root, text)] if continue_earlier else []:
        lock = FileLock(path / _LOCK, timeout=0, thread_local=False)
        try:
            with lock:
                yield StudyFolder(path)
        except Timeout:
            continue
        return
    path = new_version(root)
    with FileLock(path / _LOCK, timeout=0, thread_local=False):
        whole_lines.replace(path / _SETTINGS, text)
        yield StudyFolder(path)


def _with_settings(root: Path, text: str) -> Sequence[Path]:
    """Studies with these settings, the newest first."""
    found = []
    for path in root.glob("version_*"):
        number = path.name.removeprefix("version_")
        try:
            if number.isdecimal() and (path / _SETTINGS).read_text("utf-8") == text:
                found.append((int(number), path))
        except (OSError, ValueError):  # another study's, or no text at all
            continue
    return [path for _, path in sorted(found, reverse=True)]
