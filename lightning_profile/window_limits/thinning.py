"""Windows become rarer in a long training, where each costs memory that is not given back."""

from __future__ import annotations

_IN_A_ROW = 100  # windows before that begins
_LONGER = 1.05  # by what factor the training must have grown since the last one


class Thinning:
    """Which epochs of one stage are to have a window.

    A hundred that follow each other, then each once there have been a twentieth more epochs than at
    the one before: 135 windows in 600 epochs, 182 in 6,000. It counts epochs, not seconds, so that
    all processes of a training agree.
    """

    def __init__(self) -> None:
        self._epochs = 0
        self._windows = 0
        self._last = 0  # the number of the epoch with the last window

    def epoch_begins(self) -> None:
        """An epoch begins, with a window or without."""
        self._epochs += 1

    def window_opens(self) -> None:
        """The epoch has a window."""
        self._windows += 1
        self._last = self._epochs

    @property
    def leaves_out(self) -> str | None:
        """What to say if the epoch is to have none; else ``None``."""
        if self._windows < _IN_A_ROW or self._epochs >= self._last * _LONGER:
            return None
        return (
            f"each of the {self._windows} windows so far cost some 0.6 MiB of the GPU's memory, "
            "which CUDA keeps, so that they become rarer unless schedule.max_share is None"
        )
