"""Python's cyclic garbage collector, which reading a window would wake for nothing."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused_collector() -> Iterator[None]:
    """No collections inside of the block.

    A window is read into tens of thousands of records, none of them part of a cycle, that are
    gone again at the end. Their number alone would start collections of all that the training
    holds, which take longer than the reading.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
