"""Text files that hold whole lines only, whatever happens while they are written."""

from __future__ import annotations

from pathlib import Path

from lightning_profile.report import whole_files


def append(path: Path, text: str) -> None:
    """Append all of ``text``, or nothing: where the disk is full, what did fit is taken back.

    Raises:
        OSError: If it can't be written.
    """
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, 2)
        left = memoryview(text.encode("utf-8"))
        try:
            while left:
                left = left[file.write(left) :]
        except BaseException:
            file.truncate(size)
            raise


def replace(path: Path, text: str) -> None:
    """Put ``text`` in place of all that was there, at one moment.

    Raises:
        OSError: If it can't be written; the file is then as it was.
    """
    whole_files.replace(path, text.encode("utf-8"))


def has_content(path: Path) -> bool:
    """Whether there is a file with something in it."""
    return path.exists() and path.stat().st_size > 0
