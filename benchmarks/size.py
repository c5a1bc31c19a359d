"""How much does a window write? Tags and bytes for a model of many layers, by the place.

    python benchmarks/size.py --layers 60 --epochs 100

One window of the MNIST CNN is recorded in a real training, its convolution's rows are repeated
under as many names as there are to be layers, and the report writes that window once per epoch,
without the pictures.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes

import warnings

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trainings import MODELS, BatchesOnDevice

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.records import Layer, WindowResult
from lightning_profile.report import RunFolder, RunReport

FIRST = 2  # windows whose size is not that of later ones: the layout, the derivations


class Keeper(LayerProfiler):
    """Keeps the result of its window."""

    result: WindowResult | None = None

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        """Take the result before it is let go."""
        if self._run is not None and self._run._report is not None:
            self.result = self._run._report._newest
        super().teardown(*args, **kwargs)


def one_window() -> WindowResult:
    """Of the second convolution of the MNIST CNN."""
    keeper = Keeper("Conv2d-2", Schedule(wait=1), figures=False)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[keeper],
            logger=TensorBoardLogger(folder),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        ).fit(MODELS["mnist"](), BatchesOnDevice("mnist", "cpu", 4, 4))
    if keeper.result is None:
        raise RuntimeError("no window was recorded")
    return keeper.result


def repeated(result: WindowResult, number: int) -> WindowResult:
    """The same window as of ``number`` layers."""
    names = [(f"block{each}.conv", f"Conv2d-{each + 1}") for each in range(number)]

    def of(layer: Layer, name: tuple[str, str]) -> Layer:
        return replace(layer, qualified_name=name[0], display_name=name[1])

    others = [each for each in result.comparisons if each.layer is None]
    return replace(
        result,
        comparisons=tuple(
            replace(each, layer=of(each.layer, name))
            for name in names
            for each in result.comparisons
            if each.layer is not None
        )
        + tuple(others),
        measurements=tuple(
            replace(each, layer=name[0])
            for name in names
            for each in result.measurements
            if each.layer is not None
        ),
        calls=tuple(replace(each, layer=name[0]) for name in names for each in result.calls),
        derivations=tuple(
            replace(each, layer=of(each.layer, name))
            for name in names
            for each in result.derivations
        ),
        footprints=tuple(
            replace(each, layer=of(each.layer, name))
            for name in names
            for each in result.footprints
        ),
    )


def sizes(folder: Path) -> dict[str, int]:
    """Bytes by kind of file."""
    found = dict.fromkeys(("event file", "CSV", "JSON"), 0)
    kinds = {".csv": "CSV", ".jsonl": "JSON"}
    for path in folder.rglob("*"):
        kind = "event file" if path.name.startswith("events") else kinds.get(path.suffix)
        if kind is not None:
            found[kind] += path.stat().st_size
    return found


def write(result: WindowResult, layers: Sequence[Layer], epochs: int, folder: Path) -> None:
    """Replay the window, and print what it takes."""
    logger = TensorBoardLogger(folder, name="runs", version=0)
    report = RunReport(layers, Schedule())
    report.open([logger], RunFolder(folder / "runs", "version_0"))
    before: dict[str, int] = {}
    for epoch in range(epochs):
        report.write(replace(result, epoch=epoch, global_step=epoch + 1))
        if epoch + 1 == FIRST:
            before = sizes(folder)
    last = sizes(folder)
    report.close()
    logger.finalize("success")
    tags = EventAccumulator(logger.log_dir).Reload().Tags()
    print(f"{len(layers)} layers, {epochs} epochs")
    print(f"scalar tags: {len(tags['scalars'])}, {len(tags['scalars']) / len(layers):.0f} a layer")
    for kind in ("event file", "CSV", "JSON"):
        later = (last[kind] - before[kind]) / (epochs - FIRST)
        first = before[kind] - FIRST * later
        print(f"{kind}: {later / 1e3:.1f} kB per epoch, and {first / 1e3:.1f} kB once")


def main() -> None:
    """Record, repeat, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=100)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    result = repeated(one_window(), args.layers)
    layers = [each.layer for each in result.footprints]
    with tempfile.TemporaryDirectory() as folder:
        write(result, layers, args.epochs, Path(folder))


if __name__ == "__main__":
    main()
