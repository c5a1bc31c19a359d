"""What the device of a training can do at best, and each row of a window beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from lightning_profile.comparison import Limits, exceed, without_rooflines
from lightning_profile.devices import (
    arithmetic_kind,
    forget_ceilings,
    measured_ceilings,
    read_maths_mode,
    vendor_ceilings,
)
from lightning_profile.records import Ceilings, Comparison


class DeviceLimits:
    """The ceilings of one training's device."""

    def __init__(self) -> None:
        self._vendor: Ceilings | None = None
        self._measured: Ceilings | None = None
        self._are_disproved = False  # a layer was faster than what was measured

    def find(self, device: torch.device, *, may_measure: bool, has_empirical: bool) -> None:
        """Look the device up, and measure it if need be.

        Args:
            device: Where the model trains.
            may_measure: Whether a second or two may be taken for it, once per machine.
            has_empirical: Whether to measure a device of the vendor's table, too.
        """
        if device.type not in ("cpu", "cuda"):
            return
        self._vendor = vendor_ceilings(device)
        if may_measure and (self._vendor is None or has_empirical):
            self._measured = measured_ceilings(device)

    @property
    def ceilings(self) -> Ceilings | None:
        """The vendor's figures, or else what the device reaches; ``None`` if neither is known."""
        return self._vendor or (None if self._are_disproved else self._measured)

    @property
    def empirical(self) -> Ceilings | None:
        """What the device reaches, if that is known beside the vendor's figures."""
        return None if self._vendor is None or self._are_disproved else self._measured

    def of(self, device: torch.device) -> Limits | None:
        """By the ceilings, and the arithmetic that torch computes in on ``device`` now."""
        ceilings = self._vendor or self._measured
        return None if ceilings is None else _limits(ceilings, device)

    def check(self, comparisons: Sequence[Comparison], device: torch.device) -> list[Comparison]:
        """The same rows, held against measured ceilings too, and without those that are wrong.

        Args:
            comparisons: Rows with their rooflines by :meth:`of`.
            device: Where the model trains.
        """
        if self._measured is None:
            return list(comparisons)
        measured = list(comparisons)
        if self._vendor is not None:
            measured = _with_rooflines(comparisons, _limits(self._measured, device))
        if exceed(measured) and not self._are_disproved:
            self._are_disproved = True  # for the rest of the training, too
            forget_ceilings(device)
        if self._are_disproved:
            measured = without_rooflines(measured)
        if self._vendor is None:
            return measured
        return [
            replace(row, empirical_roofline=by_measurement.roofline, note=by_measurement.note)
            for row, by_measurement in zip(comparisons, measured, strict=True)
        ]


def _limits(ceilings: Ceilings, device: torch.device) -> Limits:
    mode = read_maths_mode(device)
    return Limits(ceilings, lambda dtype, product: arithmetic_kind(dtype, product, mode))


def _with_rooflines(comparisons: Sequence[Comparison], limits: Limits) -> list[Comparison]:
    return [
        replace(row, roofline=limits.roofline_of(row.layer, row.dtype, row.cost, row.time_ns))
        if row.layer is not None
        else row
        for row in comparisons
    ]
