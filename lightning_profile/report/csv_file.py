"""``layer_profile.csv``: one row per window, layer and phase."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from lightning_profile.records import WindowResult
from lightning_profile.report.columns import rows


class CsvFile:
    """Appends the rows of each window in one write, so that a crash cannot tear earlier rows."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, result: WindowResult) -> None:
        """Append the rows of ``result``, after a header if the file is new.

        Raises:
            OSError: If the file can't be written.
            ValueError: If the file exists with other columns.
        """
        lines = list(rows(result))
        if not lines:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
        if self._needs_header(",".join(lines[0])):
            writer.writeheader()
        writer.writerows(lines)
        with self._path.open("ab", buffering=0) as file:
            file.write(text.getvalue().encode("utf-8"))

    def _needs_header(self, header: str) -> bool:
        if not self._path.exists() or self._path.stat().st_size == 0:
            return True
        with self._path.open(encoding="utf-8") as file:
            if file.readline().rstrip("\n") != header:
                raise ValueError(f"{self._path} has other columns, so no rows were added to it")
        return False
