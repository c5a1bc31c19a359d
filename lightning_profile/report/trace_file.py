"""``trace_train.json.gz`` and ``trace_validate.json.gz``: a window on a time line, for Perfetto."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Protocol

from lightning_profile.report import whole_files
from lightning_profile.report.run_folder import RunFolder

_LEVEL = 6  # zlib's own; gzip's, 9, takes five times as long for an eighth less


class Trace(Protocol):
    """What a window recorded."""

    def text(self) -> str:
        """The trace as JSON, once.

        Raises:
            OSError: If it can't be made.
        """


class TraceFiles:
    """A file for each stage, with the trace of its last window.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._of_last_windows: dict[str, Path] = {}

    def write(self, stage: str, trace: Trace) -> None:
        """Put ``trace`` in place of that of the window before, at one moment.

        Raises:
            OSError: If it can't be written; the file is then as it was.
        """
        self._of_last_windows.pop(stage, None)
        path = self._folder.claim() / file_name(stage)
        whole_files.replace(path, gzip.compress(trace.text().encode("utf-8"), _LEVEL))
        self._of_last_windows[stage] = path.absolute()

    def of_last_window(self, stage: str) -> Path | None:
        """The file of ``stage``; ``None`` if what there is, is of an earlier window."""
        return self._of_last_windows.get(stage)

    def names(self) -> list[str]:
        """Of the files that were written, by stage."""
        return [path.name for path in self._of_last_windows.values()]


def file_name(stage: str) -> str:
    """How the file of ``stage`` is called."""
    return f"trace_{stage}.json.gz"
