"""The folder that one run's files go to, and no other run's."""

from __future__ import annotations

import warnings
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK_NAME = ".layer_profile.lock"


class RunFolder:
    """A folder that is made when it is needed and held until the run is over.

    Two trainings can get one log folder: a logger picks the next free version by looking, and both
    look at the same moment. The second then writes to a version of its own beside it. The lock is
    the operating system's, so that a training that was killed holds nothing.

    Args:
        parent: Where the versions of this run's kind lie.
        name: The folder in it; ``None`` for the next free ``version_N``.
    """

    def __init__(self, parent: Path, name: str | None = None) -> None:
        self._parent = parent
        self._name = name
        self._path: Path | None = None
        self._lock: FileLock | None = None

    @property
    def path(self) -> Path | None:
        """The folder; ``None`` before it was claimed."""
        return self._path

    def claim(self) -> Path:
        """The folder, made anew if it is gone.

        Raises:
            OSError: If it can't be made.
        """
        if self._path is None:
            wanted = new_version(self._parent) if self._name is None else self._parent / self._name
            self._path = wanted if self._hold(wanted) else self._next_to(wanted)
        self._path.mkdir(parents=True, exist_ok=True)
        return self._path

    def release(self) -> None:
        """Let another run have it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _next_to(self, taken: Path) -> Path:
        path = new_version(self._parent)
        self._hold(path)
        warnings.warn(
            f"another training, or another LayerProfiler of this one, is writing to {taken}: this "
            f"layer profile goes to {path}",
            stacklevel=2,
        )
        return path

    def _hold(self, folder: Path) -> bool:
        """Whether no other run holds it; this one does from now on."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK_NAME, timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return False
        except NotImplementedError:  # a file system without locks
            return True
        self._lock = lock
        return True


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
