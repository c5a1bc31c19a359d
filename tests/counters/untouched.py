"""Trainings with and without a capture, to be compared bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_profile.counters import CallCapture, CapturedLayer
from lightning_profile.selection import list_layers
from tests.conftest import train
from tests.trainings.untouched import Case
from tests.trainings.witness import Witness, differences


class Capturing(Callback):
    """Captures every module in one step of each epoch."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._capture: CallCapture | None = None
        self.captured: tuple[CapturedLayer, ...] = ()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 1:
            all_layers = list_layers(pl_module).layers
            layers = [layer for layer in all_layers if layer.module is not pl_module]
            self._capture = CallCapture(layers, self._folder)
            self._capture.attach()

    def on_train_batch_end(self, *_: Any) -> None:
        if self._capture is not None:
            self.captured += self._capture.detach()
            self._capture = None


def changes_by_capture(folder: Path, case: Case, **options: Any) -> list[str]:
    """What differs, and whether anything was captured."""
    accounts = []
    capturing = Capturing(folder / "packages")
    for name in ("bare", "captured"):
        witness = Witness()
        callbacks: list[Any] = [capturing, witness] if name == "captured" else [witness]
        settings = {"max_epochs": 2} | case.options | options
        model, trainer = train(folder / name, *callbacks, model=case.model, **settings)
        accounts.append(witness.account(model, trainer))
    found = differences(*accounts)
    if not any(call.backward_calls for layer in capturing.captured for call in layer.calls):
        found.append("nothing was captured")
    return found
