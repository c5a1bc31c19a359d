"""Lightning comes as two packages; the callback serves trainers of both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lightning.pytorch as lightning
import torch
from torch import nn

from lightning_profile import LayerProfiler
from tests.conftest import read_csv, small_data
from tests.trainings.rows import SCHEDULE
from tests.trainings.test_passes import CONV2


def test_a_trainer_of_the_other_package(tmp_path: Path) -> None:
    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3, padding=1)

        def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
            return self.conv2(self.conv1(batch[0])).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[LayerProfiler("conv2", SCHEDULE)],
        logger=lightning.loggers.TensorBoardLogger(tmp_path),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Model(), small_data())
    forward, backward = read_csv(tmp_path)
    assert forward["counted_flop"] == forward["theoretical_flop"] == str(CONV2)
    assert backward["counted_flop"] == backward["theoretical_flop"] == str(2 * CONV2)


def test_either_package_is_enough() -> None:
    program = (
        "import sys\n"
        "sys.modules['pytorch_lightning'] = None\n"  # as if it were not installed
        "import lightning_profile\n"
        "from lightning.pytorch import Callback\n"
        "assert issubclass(lightning_profile.LayerProfiler, Callback)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
