"""The program that draws: a window's data in a line of its input, pictures as files.

It ends with its input, after the last picture. A training that is killed so loses none that it had
asked for, and leaves no process behind.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path

_LOWEST_PRIORITY = 19
_LOOK_EVERY_S = 5.0  # whether the training is still there
_INPUT = 0


def main() -> None:
    """Draw until there is nothing more to come."""
    os.nice(_LOWEST_PRIORITY)
    for each in (signal.SIGINT, signal.SIGHUP):  # meant for the training, which ends the input
        signal.signal(each, signal.SIG_IGN)
    _stand_in_for_the_package()
    from lightning_profile.drawing.window import draw_window  # noqa: PLC0415

    for line in _lines(os.getppid()):
        try:
            draw_window(line)
        except Exception:  # the next window may be drawn all the same
            traceback.print_exc()


def _stand_in_for_the_package() -> None:
    """Let the modules of this folder be imported without the package's own, and so torch."""
    folder = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != folder]
    package = types.ModuleType("lightning_profile")
    package.__path__ = [str(folder.parent)]
    sys.modules["lightning_profile"] = package


def _lines(parent: int) -> Iterator[bytes]:
    """Lines of the input until an empty one or its end.

    A worker that the training has forked holds the input open, too, so its end alone is not to be
    relied upon.
    """
    unfinished = b""
    while True:
        ready, _, _ = select.select([_INPUT], [], [], _LOOK_EVERY_S)
        if not ready:
            if os.getppid() != parent:
                return
            continue
        text = os.read(_INPUT, 1 << 16)
        *lines, unfinished = (unfinished + text).split(b"\n")
        for line in lines:
            if not line:
                return
            yield line
        if not text:
            return


if __name__ == "__main__":
    main()
