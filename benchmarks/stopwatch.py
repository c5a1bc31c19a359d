"""What parts of the package take, by clocks around its functions."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

Pieces = Mapping[str, tuple[Any, str]]  # where a function is found, and its name there
Times = dict[str, float]  # in milliseconds by piece


class Stopwatch:
    """Clocks around the package's own functions.

    Args:
        pieces: Which; none of them calls another, unless that has nothing left to do.

    Attributes:
        times: What each of them took since this was emptied, added up.
    """

    def __init__(self, pieces: Pieces) -> None:
        self.times: Times = {}
        for piece, (owner, name) in pieces.items():
            setattr(owner, name, self._timed(piece, getattr(owner, name)))

    def _timed(self, piece: str, function: Any) -> Any:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent = (time.perf_counter() - start) * 1e3
                self.times[piece] = self.times.get(piece, 0.0) + spent

        return timed
