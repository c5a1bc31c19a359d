"""Is training through train.py as fast as a bare PyTorch loop over the same tensors?

    python benchmarks/training_speed.py

Epochs of both are run in turn within one process; the ratio of each pair is what counts, absolute
times depend on the machine. train.py runs as a user starts it (logger, metrics, progress bar,
checkpoints) but with ``--profile false``. Whatever data is found is used by both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import Callback

sys.path.insert(0, str(Path(__file__).parent.parent))
import train
from lightning_profile.mnist import MnistClassifier, MnistDataModule
from lightning_profile.mnist.console import quieten
from lightning_profile.mnist.data import normalise


class EpochClock(Callback):
    """Seconds of each training epoch, the device's work included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begin."""
        self._start = _now()

    def on_train_epoch_end(self, *_: Any) -> None:
        """End."""
        self.seconds.append(_now() - self._start)


def through_train_py(data_dir: str, folder: str, steps: int, batch_size: int) -> float:
    """Seconds of one epoch of train.py's trainer."""
    arguments = [
        f"--data_dir={data_dir}",
        f"--log_dir={folder}",
        f"--batch_size={batch_size}",
        "--profile=false",
        "--trainer.max_epochs=1",
        "--trainer.limit_val_batches=1",
        f"--trainer.limit_train_batches={steps}",
    ]
    cli = train.build_cli(arguments)
    clock = EpochClock()
    cli.trainer.callbacks.append(clock)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    return clock.seconds[0]


def bare_loop(data: MnistDataModule, steps: int, batch_size: int, device: str) -> float:
    """Seconds of the same number of steps in plain PyTorch."""
    torch.manual_seed(42)
    model = MnistClassifier().to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    dataset: Any = data.train_dataloader().dataset
    images, labels = dataset.images, dataset.labels
    if device == "cuda":
        images, labels = images.pin_memory(), labels.pin_memory()
    start = _now()
    for indices in torch.randperm(len(images)).split(batch_size)[:steps]:
        batch = normalise(images[indices].to(device, non_blocking=True))
        loss = F.cross_entropy(model(batch), labels[indices].to(device, non_blocking=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _now() - start


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Run the pairs and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    quieten()
    data = MnistDataModule(data_dir=options.data_dir)
    data.prepare_data()
    data.setup("fit")

    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.pairs + 1):
            lightning = through_train_py(
                options.data_dir, folder, options.steps, options.batch_size
            )
            bare = bare_loop(data, options.steps, options.batch_size, device)
            if number:  # the first pair warms up
                pairs.append((lightning, bare))
    ratios = sorted(lightning / bare for lightning, bare in pairs)
    figures = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "dataset": data.dataset_name,
        "steps": options.steps,
        "batch_size": options.batch_size,
        "train_py_ms_per_step": statistics.median(a for a, _ in pairs) / options.steps * 1e3,
        "bare_ms_per_step": statistics.median(b for _, b in pairs) / options.steps * 1e3,
        "ratio_median": statistics.median(ratios),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
        "pairs": len(ratios),
    }
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
