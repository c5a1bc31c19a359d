"""The step of an epoch whose calls are kept for the hardware's counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_profile.counters import CallCapture, CapturedLayer, HardwareCounters, LayerPhase
from lightning_profile.records import HardwareCount, Layer, Unavailable, UnavailableCause

_NO_STEP = Unavailable(
    cause=UnavailableCause.NOT_CAPTURED,
    reason="the window begins with the epoch's first step, so none is left to be captured",
    remedy="let the schedule wait for a step or more",
)


class StepCapture:
    """Captures the step before each window, and counts what it kept after the window.

    Not a step of the window: the copies to the host would be in its times.
    """

    def __init__(self) -> None:
        self._counters = HardwareCounters()
        self._capture: CallCapture | None = None
        self._captured: Sequence[CapturedLayer] = ()

    @property
    def is_open(self) -> bool:
        """Whether a step is being captured."""
        return self._capture is not None

    def begin_step(self, layers: Sequence[Layer]) -> None:
        """A step begins that is to be captured."""
        self.close_step()
        self._capture = self._counters.capture(
            [layer for layer in layers if layer.has_row and not layer.is_container]
        )
        self._capture.attach()

    def close_step(self) -> None:
        """The step has ended, or is given up; safe at any time and more than once."""
        capture, self._capture = self._capture, None
        if capture is not None:
            self._captured = capture.detach()

    def count(self) -> Mapping[LayerPhase, HardwareCount | Unavailable]:
        """What the captured calls executed; the training waits meanwhile."""
        captured, self._captured = self._captured, ()
        return self._counters.count(captured)

    def refuse(self, layers: Sequence[Layer]) -> None:
        """There is no step that could be captured: say so of each layer."""
        self._captured = [
            CapturedLayer(layer=layer, calls=(), unavailable=_NO_STEP) for layer in layers
        ]

    def close(self) -> None:
        """Remove what was captured."""
        self.close_step()
        self._counters.close()
