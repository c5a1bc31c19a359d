"""Train the MNIST CNN and see what its layers should cost beside what they do cost.

python train.py --batch_size 128
tensorboard --logdir logs
"""

from __future__ import annotations

import os

# Before torch is imported: libkineto and the CPU allocator write to stderr at every window.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import contextlib
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Literal, NoReturn, TextIO

from jsonargparse import ArgumentError, Namespace
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_profile import LayerProfiler, LayerSelectionError, Schedule
from lightning_profile.mnist import DataError, MnistClassifier, MnistDataModule
from lightning_profile.report import new_version
from lightning_profile.selection import select_layers

_RUNS = "mnist"  # the folder in the log folder

# Lightning's remarks that a reader of this program can't act on, and why.
_REMARKS = (
    ".*does not have many workers.*",  # the images are in memory
    ".*smaller than the logging interval.*",  # short runs are meant
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*GPU available but not used.*",  # the accelerator was named
    ".*You are using a CUDA device.*Tensor Cores.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",  # between Lightning and torch
)

_DESCRIPTION = """Train the MNIST CNN while its layers are profiled: once an epoch a few steps are
recorded, and what a layer should cost on paper is shown beside what it did cost, in TensorBoard
(tensorboard --logdir logs), in LOG_DIR/mnist/version_N/layer_profile.csv and .jsonl, and in a table
at the end."""
_USAGE = """python train.py [--batch_size N] [--layers NAME ...] [--dataset {auto,mnist,digits}]
                [--data_dir DIR] [--log_dir DIR] [--profile {true,false}]
                [--schedule.wait N] [--schedule.warmup N] [--schedule.active N]
                [--config FILE] [--trainer.max_epochs N] [--trainer.OPTION VALUE ...]"""


class TrainingCLI(LightningCLI):
    """Lightning's command line with the options of the main job on top."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the short options and let them reach the data."""
        parser.add_argument("--batch_size", type=int, default=128, help="Images per training step.")
        parser.add_argument(
            "--layers",
            nargs="+",
            default=["Conv2d-2"],
            help="Layers to profile: Conv2d-2 is the second Conv2d; conv2, its name, works too.",
        )
        parser.add_argument(
            "--dataset",
            type=Literal["auto", "mnist", "digits"],
            default="auto",
            help="mnist; digits (scikit-learn's, no download); auto: digits if MNIST can't be had.",
        )
        parser.add_argument(
            "--data_dir", default="data", help="Where MNIST lies or is downloaded to."
        )
        parser.add_argument("--log_dir", default="logs", help="Runs go to LOG_DIR/mnist/version_N.")
        parser.add_argument(
            "--profile", type=bool, default=True, help="Whether to profile the layers at all."
        )
        parser.add_class_arguments(Schedule, "schedule")
        for name in ("batch_size", "dataset", "data_dir"):
            parser.link_arguments(name, f"data.{name}")

    def before_instantiate_classes(self) -> None:
        """Log to ``LOG_DIR/mnist`` unless another logger, or none, was asked for."""
        trainer = self.config.trainer
        self.logs_by_default = trainer.logger in (None, True)
        if self.logs_by_default:
            trainer.logger = Namespace(
                class_path="pytorch_lightning.loggers.TensorBoardLogger",
                init_args=Namespace(
                    save_dir=self.config.log_dir, name=_RUNS, default_hp_metric=False
                ),
            )
        if trainer.default_root_dir is None:
            trainer.default_root_dir = self.config.log_dir


class LoggerOfOneRun(TensorBoardLogger):
    """Takes the next version by making its folder: two runs that start together get two."""

    def _get_next_version(self) -> int:
        if rank_zero_only.rank != 0:  # the first process has made the folder for all
            return super()._get_next_version()
        return int(new_version(Path(self.root_dir)).name.removeprefix("version_"))


def build_cli() -> TrainingCLI:
    """Model, data, trainer and, unless it is switched off, the profiler from the command line.

    Raises:
        ArgumentError: If an option is unknown or has a wrong value.
        LayerSelectionError: If a layer to profile does not exist.
        ValueError: If a value makes no sense.
    """
    cli = TrainingCLI(
        MnistClassifier,
        MnistDataModule,
        run=False,
        seed_everything_default=42,
        auto_configure_optimizers=False,
        parser_kwargs={
            "allow_abbrev": False,
            "exit_on_error": False,
            "usage": _USAGE,
            "description": _DESCRIPTION,
        },
        save_config_kwargs={"overwrite": True},
        trainer_defaults={"max_epochs": 3, "enable_model_summary": False},
    )
    if cli.config.profile:
        select_layers(cli.model, cli.config.layers)  # a mistake shows before anything is done
        cli.trainer.callbacks.append(LayerProfiler(cli.config.layers, cli.config_init.schedule))
    return cli


def main() -> None:
    """Train, test, and say what came out."""
    quieten()
    try:
        cli = build_cli()
        _require_writable(cli.config.log_dir)
        if cli.logs_by_default:
            cli.trainer.loggers = [
                LoggerOfOneRun(cli.config.log_dir, _RUNS, default_hp_metric=False)
            ]
    except (ArgumentError, LayerSelectionError, ValueError) as error:
        _fail(error, status=2)
    try:
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        (metrics,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    except DataError as error:
        if cli.trainer.log_dir is not None:
            with contextlib.suppress(OSError):  # of a run that never began, unless it has files
                Path(cli.trainer.log_dir).rmdir()
        _fail(error, status=1)
    print(
        f"Test accuracy after {cli.trainer.current_epoch} epochs on {cli.datamodule.dataset_name}: "
        f"{metrics['test/accuracy']:.2%}"
    )


def quieten() -> None:
    """Nothing on the console but progress, results, and warnings that can be acted on."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for remark in _REMARKS:
        warnings.filterwarnings("ignore", message=remark)
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {message}", file=file or sys.stderr)


def _require_writable(folder: str) -> None:
    """Raise ValueError unless files can be made in ``folder``, which is made if need be."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"can't write to the log folder {folder}: {error.strerror}") from error


def _fail(error: Exception, *, status: int) -> NoReturn:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
