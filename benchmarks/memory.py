"""Does a long training with the profiler grow? Memory, threads and files after many epochs.

    python benchmarks/memory.py --epochs 600
    python benchmarks/memory.py --epochs 600 --every_epoch

Trains a small network for so many epochs of three steps, and prints what the process holds after
the first hundred and after the last. By default windows may take all of the time, and become rarer
where each costs memory, as in any training; or there is one in every epoch.
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
from trainings import profiled_epochs

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
                **_device_memory(),
            }
        )


def _device_memory() -> dict[str, int]:
    """torch's tensors, and all that is taken: CUDA's own memory is in no allocator."""
    if not torch.cuda.is_available():
        return {"tensor_bytes": 0, "device_kib": 0}
    free, total = torch.cuda.mem_get_info()
    return {"tensor_bytes": torch.cuda.memory_allocated(), "device_kib": (total - free) // 1024}


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--every_epoch", action="store_true", help="a window in each")
    parser.add_argument("--bare", action="store_true", help="the same without the callback")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    census = Census()
    max_share = None if args.every_epoch else 1.0
    profiler = LayerProfiler(schedule=Schedule(wait=1, warmup=1, active=1, max_share=max_share))
    callbacks: list[Any] = [census] if args.bare else [profiler, census]
    data = TensorDataset(torch.randn(96, 1, 12, 12), torch.randint(0, 10, (96,)))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = Trainer(
            max_epochs=args.epochs,
            callbacks=callbacks,
            logger=TensorBoardLogger(folder),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(SmallCnn(), DataLoader(data, batch_size=32))
        windows = 0 if args.bare else len(profiled_epochs(profiler))
    first, last = census.counts[:FIRST][-1], census.counts[-1]
    print(json.dumps({"windows": windows, "early": first, "late": last}, indent=1))
    for what, unit in (("resident memory", "resident_kib"), ("device memory", "device_kib")):
        print(f"{what} grew by {(last[unit] - first[unit]) / 1024:.1f} MiB")


if __name__ == "__main__":
    main()
