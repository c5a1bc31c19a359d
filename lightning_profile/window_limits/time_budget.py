"""How much of a training's time its windows take, and whether there is room for one more."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

_ALWAYS_S = 1.0  # in all: a short training has a window in each of its epochs


class TimeBudget:
    """Keeps the windows of one training below a share of its time, by the clock.

    A window costs what passes from its opening until its results are written, beyond as many steps
    like the one before it. What the training is waited for in between is not counted: work that
    the device has yet to do anyway, or another program that was asked for.

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
        self._step_before_s: float | None = None  # when it began
        self._opened_s: float | None = None
        self._expected_s = 0.0  # what the window's steps take anyway, and waiting

    @property
    def overdrawn(self) -> str | None:
        """What to say of it if the windows so far took more than their share; else ``None``."""
        elapsed_s = self._clock() - self._started_s
        if self._max_share is None or self._spent_s <= max(_ALWAYS_S, self._max_share * elapsed_s):
            return None
        return (
            f"the windows so far took {self._spent_s:.1f} s of the training's {elapsed_s:.0f} s, "
            f"and schedule.max_share is {self._max_share:g}"
        )

    def step_before(self) -> None:
        """The step before a window begins."""
        self._step_before_s = self._clock()

    def open(self, steps: int) -> None:
        """A window opens.

        Args:
            steps: How many it will have.
        """
        self._opened_s = self._clock()
        # Without a step before it all of its own are counted.
        before_s, self._step_before_s = self._step_before_s, None
        self._expected_s = 0.0 if before_s is None else steps * (self._opened_s - before_s)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what is not counted."""
        began_s = self._clock()
        try:
            yield
        finally:
            self._expected_s += self._clock() - began_s

    def close(self) -> None:
        """The window's results are written, or it is given up; safe more than once."""
        opened_s, self._opened_s = self._opened_s, None
        if opened_s is not None:
            self._spent_s += max(0.0, self._clock() - opened_s - self._expected_s)
