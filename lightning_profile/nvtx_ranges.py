"""NvtxRanges: a way in for users of Nsight Systems and Nsight Compute."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

try:
    from pytorch_lightning import Callback, LightningModule, Trainer
except ImportError:  # the same classes in the other of Lightning's two packages
    from lightning.pytorch import (  # type: ignore[assignment]
        Callback,
        LightningModule,
        Trainer,
    )

from lightning_profile.faults import describe_for_report
from lightning_profile.selection import Pattern, list_patterns, select_layers

if TYPE_CHECKING:
    from lightning_profile.measurement import LayerRanges


class NvtxRanges(Callback):
    """Marks the forward and the backward of layers by NVTX ranges, in every step of a training.

    Nsight Systems shows them as bars over the kernels, and Nsight Compute can be told to look at
    the kernels of one layer only::

        nsys profile python train.py --profile false --nvtx true
        ncu --nvtx --nvtx-include "Conv2d-2 backward/" python train.py --profile false --nvtx true

    It records nothing itself, and needs no :class:`LayerProfiler` beside it. Gradients are the
    same bit for bit.

    Args:
        layers: As in :class:`LayerProfiler`.

    Raises:
        LayerSelectionError: If a pattern is neither a string nor a class of modules; before the
            first step, if it selects nothing.
    """

    def __init__(self, layers: Pattern | Sequence[Pattern] | None = None) -> None:
        super().__init__()
        self._patterns = None if layers is None else list_patterns(layers)
        self._ranges: LayerRanges | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers, and begin to mark them."""
        selection = select_layers(pl_module, self._patterns)
        # Slow to import, and only a training needs it.
        from lightning_profile.measurement import LayerRanges, has_nvtx  # noqa: PLC0415

        if not has_nvtx():
            warnings.warn("no NVTX ranges: this torch was built without CUDA", stacklevel=2)
            return
        self._ranges = LayerRanges(selection.rows)
        self._ranges.attach()

    def on_train_batch_start(self, *_: Any) -> None:
        """Mark all layers again."""
        self._attach()

    def on_validation_batch_start(self, *_: Any) -> None:
        """As in training."""
        self._attach()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing behind."""
        self._detach()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave nothing behind."""
        self._detach()

    def _attach(self) -> None:
        if self._ranges is not None:
            self._ranges.attach()

    def _detach(self) -> None:
        ranges, self._ranges = self._ranges, None
        if ranges is None:
            return
        ranges.detach()
        if ranges.fault is not None:
            fault = describe_for_report(ranges.fault)
            warnings.warn(f"some NVTX ranges are missing: {fault}", stacklevel=2)
