"""Windows become rarer in a long training, where each costs memory that is not given back."""

from __future__ import annotations

from collections import Counter

_IN_A_ROW = 100  # windows before that begins
_LONGER = 1.05  # by what factor a stage's epochs must have grown since its last one


class Thinning:
    """Which epochs of a process's trainings are to have a window.

    A hundred that follow each other, then each once its stage has had a twentieth more epochs than
    at the one before: 135 windows in 600 epochs, 182 in 6,000. It counts epochs, not seconds, so
    that all processes of a training agree.
    """

    def __init__(self) -> None:
        self._windows = 0
        self._epochs: Counter[str] = Counter()  # by stage
        self._last: Counter[str] = Counter()  # of those, the one with the last window

    def epoch_begins(self, stage: str) -> None:
        """An epoch begins, with a window or without."""
        self._epochs[stage] += 1

    def window_opens(self, stage: str) -> None:
        """The epoch has a window."""
        self._windows += 1
        self._last[stage] = self._epochs[stage]

    def leaves_out(self, stage: str) -> str | None:
        """What to say if the epoch is to have none; else ``None``."""
        is_due = self._epochs[stage] >= self._last[stage] * _LONGER
        if self._windows < _IN_A_ROW or is_due:
            return None
        return (
            f"each of the {self._windows} windows so far cost some 0.6 MiB of the GPU's memory, "
            "which CUDA keeps, so that they become rarer unless schedule.max_share is None"
        )


OF_PROCESS = Thinning()  # whose memory it is, whatever it trains
