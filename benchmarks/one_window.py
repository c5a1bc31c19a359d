"""One window of a training on a GPU, as layer_profile.jsonl has it."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_profile import LayerProfiler, Schedule


def record_window(
    model: LightningModule,
    batch: tuple[Tensor, ...],
    profiler: LayerProfiler,
    schedule: Schedule,
    precision: str,
) -> dict[str, Any]:
    """Train ``model`` on one batch again and again, until the window of ``schedule`` is over.

    Args:
        model: The model.
        batch: On the GPU already.
        profiler: With ``schedule``.
        schedule: When the window is open.
        precision: The Trainer's.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        Trainer(
            accelerator="gpu",
            devices=1,
            precision=precision,  # type: ignore[arg-type]
            max_epochs=1,
            logger=False,
            callbacks=[profiler],
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        ).fit(model, DataLoader([batch] * (schedule.steps + 1), batch_size=None))
        (path,) = Path(folder).rglob("layer_profile.jsonl")
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    (window,) = [line for line in lines if "steps" in line]
    return dict(window)
