"""``layer_profile.csv``: one row per window, layer and phase."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from lightning_profile.records import WindowResult
from lightning_profile.report.columns import Value, rows

_Window = tuple[str, str]  # stage and global step, which name a window


class CsvFile:
    """Appends the rows of each window in one write, so that a crash cannot tear earlier rows."""

    def __init__(self, path: Path, *, is_resumed: bool = False) -> None:
        self._path = path
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
        self._path.parent.mkdir(parents=True, exist_ok=True)
        columns = list(lines[0])
        if self._earlier is None:
            self._drop_torn_line()
        earlier = self._read(columns)
        if self._earlier is None:
            self._earlier = {_window(row) for row in earlier} if self._is_resumed else set()
        window = (result.stage, str(result.global_step))
        if window in self._earlier:
            self._earlier.discard(window)
            self._replace(columns, [row for row in earlier if _window(row) != window])
        text = _as_text(columns, lines, with_header=not self._has_content())
        with self._path.open("ab", buffering=0) as file:
            file.write(text.encode("utf-8"))

    def _drop_torn_line(self) -> None:
        """Drop a last line that a crash has torn."""
        if not self._has_content():
            return
        whole, _, torn = self._path.read_text("utf-8").rpartition("\n")
        if torn:
            unfinished = self._path.with_suffix(".csv.part")
            unfinished.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
            unfinished.replace(self._path)

    def _read(self, columns: list[str]) -> list[dict[str, str]]:
        if not self._has_content():
            return []
        with self._path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != columns:
                raise ValueError(f"{self._path} has other columns, so no rows were added to it")
            # Later on only the header is of interest.
            return list(reader) if self._earlier is None or self._earlier else []

    def _replace(self, columns: list[str], kept: list[dict[str, str]]) -> None:
        unfinished = self._path.with_suffix(".csv.part")
        unfinished.write_text(_as_text(columns, kept, with_header=True), encoding="utf-8")
        unfinished.replace(self._path)

    def _has_content(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > 0


def _window(row: Mapping[str, str]) -> _Window:
    return row["stage"], row["global_step"]


def _as_text(columns: list[str], lines: Iterable[Mapping[str, Value]], *, with_header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    if with_header:
        writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
