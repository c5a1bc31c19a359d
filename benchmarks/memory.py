"""Does a long training with the profiler grow? Memory, threads and files after many windows.

    python benchmarks/memory.py --windows 600

Trains a small network for so many epochs of three steps with a window in each, and prints what the
process holds after the first hundred windows and after the last.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes

import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_profile import LayerProfiler, Schedule

FIRST = 100


class SmallCnn(LightningModule):
    """Two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 64, 10)
        )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Cross entropy."""
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over all parameters."""
        return torch.optim.Adam(self.parameters())


class Census(Callback):
    """What the process holds after each epoch."""

    def __init__(self) -> None:
        self.counts: list[dict[str, int]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count."""
        status = Path("/proc/self/status").read_text("utf-8")
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        self.counts.append(
            {
                "resident_kib": int(resident.split()[1]),
                "threads": threading.active_count(),
                "system_threads": len(list(Path("/proc/self/task").iterdir())),
                "files": len(list(Path("/proc/self/fd").iterdir())),
                "device_bytes": torch.cuda.memory_allocated() if torch.cuda.is_available() else 0,
                "device_kib_of_process": _device_kib(),
            }
        )


def _device_kib() -> int:
    """What is taken of the device, whoever takes it: CUDA's own memory is in no allocator."""
    if not torch.cuda.is_available():
        return 0
    free, total = torch.cuda.mem_get_info()
    return (total - free) // 1024


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--windows", type=int, default=600)
    parser.add_argument("--bare", action="store_true", help="the same without the callback")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    census = Census()
    profiler = LayerProfiler(schedule=Schedule(wait=1, warmup=1, active=1, max_share=None))
    callbacks: list[Any] = [census] if args.bare else [profiler, census]
    data = TensorDataset(torch.randn(96, 1, 12, 12), torch.randint(0, 10, (96,)))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = Trainer(
            max_epochs=args.windows,
            callbacks=callbacks,
            logger=TensorBoardLogger(folder),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(SmallCnn(), DataLoader(data, batch_size=32))
    first, last = census.counts[min(FIRST, args.windows) - 1], census.counts[-1]
    print(json.dumps({"after_100_windows": first, f"after_{args.windows}_windows": last}, indent=1))
    grown = (last["resident_kib"] - first["resident_kib"]) / 1024
    print(f"resident memory grew by {grown:.1f} MiB")


if __name__ == "__main__":
    main()
