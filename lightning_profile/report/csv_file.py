"""``layer_profile.csv``: one row per window, layer and phase."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from lightning_profile.records import WindowResult
from lightning_profile.report import whole_lines
from lightning_profile.report.columns import Value, rows
from lightning_profile.report.run_folder import RunFolder

CSV_NAME = "layer_profile.csv"
_Window = tuple[str, str]  # stage and global step, which name a window


class CsvFile:
    """Appends the rows of each window at once, so that a crash cannot tear earlier rows."""

    def __init__(self, folder: RunFolder, *, is_resumed: bool = False) -> None:
        self._folder = folder
        self._is_resumed = is_resumed
        self._earlier: set[_Window] | None = None  # windows of a run that is resumed here

    def write(self, result: WindowResult) -> None:
        """Append the rows of ``result``, after a header if the file is new.

        Where a resumed training repeats a window, the new rows replace the earlier ones.

        Raises:
            OSError: If the file can't be written.
            ValueError: If the file exists with other columns.
        """
        lines = list(rows(result))
        if not lines:
            return
        path = self._folder.claim() / CSV_NAME
        columns = list(lines[0])
        if self._earlier is None:
            _drop_torn_line(path)
        earlier = self._read(path, columns)
        if self._earlier is None:
            self._earlier = {_window(row) for row in earlier} if self._is_resumed else set()
        window = (result.stage, str(result.global_step))
        if window in self._earlier:
            kept = [row for row in earlier if _window(row) != window]
            whole_lines.replace(path, _as_text(columns, kept, with_header=True))
            self._earlier.discard(window)
        is_new = not whole_lines.has_content(path)
        whole_lines.append(path, _as_text(columns, lines, with_header=is_new))

    def _read(self, path: Path, columns: list[str]) -> list[dict[str, str]]:
        if not whole_lines.has_content(path):
            return []
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != columns:
                raise ValueError(f"{path} has other columns, so no rows were added to it")
            # Later on only the header is of interest.
            return list(reader) if self._earlier is None or self._earlier else []


def _drop_torn_line(path: Path) -> None:
    """Drop a last line that a crash has torn."""
    if not whole_lines.has_content(path):
        return
    whole, _, torn = path.read_text("utf-8").rpartition("\n")
    if torn:
        whole_lines.replace(path, f"{whole}\n" if whole else "")


def _window(row: Mapping[str, str]) -> _Window:
    return row["stage"], row["global_step"]


def _as_text(columns: list[str], lines: Iterable[Mapping[str, Value]], *, with_header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    if with_header:
        writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
