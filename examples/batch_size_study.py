"""Study how the cost of a small MLP's layers grows with the batch size.

Shows a study from Python, for any LightningModule: what makes the model, what makes the data from a
batch size, and the batch sizes.

    python examples/batch_size_study.py
"""

from __future__ import annotations

import argparse
import os
import warnings

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes
warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning's, with the newest torch

import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_profile.study import run_study

STEPS = 40


class Regression(LightningModule):
    """Three linear layers that learn a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1)
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean squared error of the sum."""
        numbers, total = batch
        return F.mse_loss(self.net(numbers).squeeze(1), total)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over all parameters."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def make_data(batch_size: int) -> DataLoader[tuple[Tensor, ...]]:
    """As many batches as a point of the study trains with."""
    numbers = torch.randn(STEPS * batch_size, 64, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(numbers, numbers.sum(dim=1)), batch_size=batch_size)


def main() -> None:
    """Study it, and say what the second layer's FLOPs do."""
    parser = argparse.ArgumentParser(description="Study an MLP's cost over the batch size.")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[32, 128, 512, 2048])
    parser.add_argument("--log_dir", default="logs")
    args = parser.parse_args()

    study = run_study(
        Regression,
        make_data,
        args.batch_sizes,
        layers=["Linear"],
        folder=f"{args.log_dir}/mlp_study",
        project_to=["A100"],
    )
    flop = study.analysis.of(("Linear-2", "net.2", "forward"), "counted_flop")
    if flop is not None and flop.line is not None:
        print(f"Each sample adds {flop.line.slope} FLOPs to the forward of Linear-2")


if __name__ == "__main__":  # each batch size is a process of its own, which imports this file
    main()
