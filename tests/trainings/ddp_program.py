"""Two processes train together.

python -m tests.trainings.ddp_program FOLDER MODE [ACCELERATOR [EPOCHS]]
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.stage_recorder import RecordedWindow, StageRecorder
from lightning_profile.window_limits import time_budget
from tests.conftest import SmallCnn, small_data
from tests.trainings.witness import Witness


class Straggling(SmallCnn):
    """Its second process has more to do in conv2."""

    def __init__(self) -> None:
        super().__init__()
        del self.unused
        self.fc = nn.Sequential(nn.Dropout(0.3), self.fc)

    def on_fit_start(self) -> None:
        if self.global_rank == 1:
            self.conv2.register_forward_hook(_extra_work)


def _extra_work(module: nn.Module, inputs: object, output: Tensor) -> None:
    square = torch.ones(512, 512, device=output.device)
    square @ square


class FailingOnTheSecond(LayerProfiler):
    """The profile of the second process ends with a fault of its own."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        if trainer.global_rank == 1:
            recorder = self._train

            def broken(_: StageRecorder = recorder) -> RecordedWindow | None:
                recorder.close()
                raise RuntimeError("a fault of one process")

            recorder.finish = broken  # type: ignore[method-assign]


def main(folder: Path, mode: str, accelerator: str = "cpu", epochs: str = "2") -> None:
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    pl.seed_everything(1)
    torch.set_num_threads(1)
    # However short the time: the first process would wait for windows that others don't have.
    time_budget._ALWAYS_S = 0.0
    schedule = Schedule(wait=1, warmup=1, active=2, max_share=1e-9)
    callbacks: list[Any] = {
        "bare": [],
        "all": [LayerProfiler("all", schedule)],
        "fault": [FailingOnTheSecond(["conv2"], schedule)],
    }[mode]
    witness = Witness()
    trainer = pl.Trainer(
        max_epochs=int(epochs),
        accelerator=accelerator,
        devices=2,
        strategy="ddp",
        callbacks=[witness, *callbacks],
        deterministic=accelerator == "gpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=pl.loggers.TensorBoardLogger(folder, name="runs"),
    )
    model = Straggling()
    trainer.fit(model, small_data(64, 8))
    torch.save(witness.account(model, trainer), folder / f"account{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
