"""A folder of its own for a run that has no logger to name one."""

from __future__ import annotations

from itertools import count
from pathlib import Path


def new_version(parent: Path) -> Path:
    """Make and return the first ``version_N`` in ``parent`` that does not exist.

    Two runs that start at the same moment get different folders.

    Raises:
        OSError: If the folder can't be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for number in count():
        folder = parent / f"version_{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() ended")
