"""When in an epoch the profiling window is open."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lightning_profile.quoting import quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A window per epoch: ``wait`` steps untouched, then ``warmup``, then ``active`` steps.

    Attributes:
        wait: Steps before the window; the first ones of a training are never typical.
        warmup: Steps with the profiler on whose records are dropped. Each costs what a recorded
            one does; without any, the first recorded step takes no longer than later ones.
        active: Steps that are recorded and reported; of several the times are the median. What a
            window of one costs was measured in ``docs/overhead.md``.
        max_share: The share of a training's time, between 0 and 1, that windows are to take at
            most: an epoch that begins when they took more, and more than a second, has none. Of
            two stages each has half of it. Several processes have no such limit. On a GPU windows
            also become rarer after a hundred, as CUDA keeps some memory of each. ``None`` for a
            window in each epoch.

    Raises:
        ValueError: If a number of steps is not a whole number, is negative, or nothing would be
            active, or if the share is not between 0 and 1.
    """

    wait: int = 10
    warmup: int = 0
    active: int = 1
    max_share: float | None = 0.015

    def __post_init__(self) -> None:
        for name, least in (("wait", 0), ("warmup", 0), ("active", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(
                    f"schedule.{name} must be a whole number of steps, at least {least}, "
                    f"not {quoted(value)}"
                )
        share: object = self.max_share
        if share is None or (type(share) in (int, float) and 0 < share <= 1):  # type: ignore[operator]
            return
        raise ValueError(
            f"schedule.max_share must be a number above 0 and at most 1, or None, not "
            f"{quoted(share)}"
        )

    @property
    def steps(self) -> int:
        """Steps from the start of the epoch to the end of the window."""
        return self.wait + self.warmup + self.active

    def shrink_to(self, epoch_steps: int) -> Schedule:
        """The same schedule cut to an epoch of ``epoch_steps`` steps (at least 1).

        The waiting is given up first, then active steps down to one, then the warm-up.

        Args:
            epoch_steps: Steps that the window has to fit into.
        """
        excess = max(0, self.steps - epoch_steps)
        wait = max(0, self.wait - excess)
        excess -= self.wait - wait
        active = max(1, self.active - excess)
        excess -= self.active - active
        return replace(self, wait=wait, warmup=max(0, self.warmup - excess), active=active)

    def __str__(self) -> str:
        return f"wait {self.wait}, warmup {self.warmup}, active {self.active}"
