"""What the device of a training can do at best, and each row of a window beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from lightning_profile.comparison import exceed, with_rooflines, without_rooflines
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

    def hold_against(
        self, comparisons: Sequence[Comparison], device: torch.device
    ) -> list[Comparison]:
        """The same rows with their rooflines, or with why they have none."""
        measured = self._with_rooflines(comparisons, self._measured, device)
        if exceed(measured) and not self._are_disproved:
            self._are_disproved = True  # for the rest of the training, too
            forget_ceilings(device)
        if self._are_disproved:
            measured = without_rooflines(measured)
        if self._vendor is None:
            return measured
        return [
            replace(row, empirical_roofline=by_measurement.roofline, note=by_measurement.note)
            for row, by_measurement in zip(
                self._with_rooflines(comparisons, self._vendor, device), measured, strict=True
            )
        ]

    def _with_rooflines(
        self, comparisons: Sequence[Comparison], ceilings: Ceilings | None, device: torch.device
    ) -> list[Comparison]:
        if ceilings is None:
            return list(comparisons)
        mode = read_maths_mode(device)
        return with_rooflines(
            comparisons, ceilings, lambda dtype, product: arithmetic_kind(dtype, product, mode)
        )
