"""How much of a training's time its windows take, and whether there is room for one more."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

_ALWAYS_S = 1.0  # in all: a short training has a window in each of its epochs


class TimeBudget:
    """Says when the windows of one stage took more than a share of the time, by the clock.

    A window costs what the callback's own hooks take, from its opening to its written results. What
    the training is waited for in them is not counted: work that the device has yet to do anyway, or
    another program that was asked for. Nor is what a recorded step takes longer than others, an
    eighth of it on a GPU: what a step takes otherwise is not known.

    Args:
        clock: In seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.start(None)

    def start(self, max_share: float | None) -> None:
        """A training begins.

        Args:
            max_share: The most of its time that windows may take; ``None`` for no limit.
        """
        self._max_share = max_share
        self._started_s = self._clock()
        self._spent_s = 0.0
        self._waited_s = 0.0

    @property
    def overdrawn(self) -> str | None:
        """What they took, if that is more than their share and a second; else ``None``."""
        elapsed_s = self._clock() - self._started_s
        if self._max_share is None or self._spent_s <= max(_ALWAYS_S, self._max_share * elapsed_s):
            return None
        return (
            f"windows took {self._spent_s:.1f} s of the {elapsed_s:.1f} s so far, more than "
            f"{self._max_share * 100:.3g}% (schedule.max_share)"
        )

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        """Around what is done for a window."""
        began_s, waited_s = self._clock(), self._waited_s
        try:
            yield
        finally:
            self._spent_s += self._clock() - began_s - (self._waited_s - waited_s)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what is not counted of it."""
        began_s = self._clock()
        try:
            yield
        finally:
            self._waited_s += self._clock() - began_s
