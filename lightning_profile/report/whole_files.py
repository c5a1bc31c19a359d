"""Files that take the place of others at one moment."""

from __future__ import annotations

import contextlib
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Put ``content`` in place of all that was there, at one moment.

    Raises:
        OSError: If it can't be written; the file is then as it was, and nothing is beside it.
    """
    unfinished = path.with_name(f"{path.name}.part")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # such as that there is none
            unfinished.unlink()
        raise
