"""Train the MNIST CNN and see what its layers should cost beside what they do cost.

python train.py --batch_size 128
python train.py --batch_size 16 32 64 128 256 512 1024
tensorboard --logdir logs
"""

from __future__ import annotations

import os

# Before torch is imported: libkineto and the CPU allocator write to stderr at every window.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import contextlib
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

try:
    from jsonargparse import ArgumentError, Namespace
except ImportError:
    sys.exit("error: train.py needs more than the package: pip install -r requirements.txt")
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightning_profile import LayerProfiler, NvtxRanges, Schedule
from lightning_profile.mnist import TRAIN_SAMPLES, DataError, MnistClassifier, MnistDataModule
from lightning_profile.mnist.console import fail, quieten
from lightning_profile.mnist.logger import LoggerOfOneRun
from lightning_profile.mnist.options import add_training_arguments, allow_tf32
from lightning_profile.report import new_version
from lightning_profile.selection import select_layers
from lightning_profile.study import StudyError, command_line
from lightning_profile.study.batch_sizes import check_batch_sizes
from lightning_profile.study.training import Training

_RUNS = "mnist"  # the folder in the log folder
_LAYERS_AS_METRICS = 3  # in HParams, where each has four columns
_STUDY_CONFIG = Path(__file__).parent / "configs" / "batch_size_study.yaml"

# What options that can't be met raise in Lightning, in jsonargparse and here (a ValueError).
_MISTAKES = (
    ArgumentError,
    ImportError,
    MisconfigurationException,
    TypeError,
    ValueError,
)
_INTERRUPTED = 130  # as shells have it for Ctrl-C

_DESCRIPTION = """Train the MNIST CNN while its layers are profiled: once an epoch a few steps are
recorded, and what a layer should cost on paper is shown beside what it did cost, in TensorBoard
(tensorboard --logdir logs), in LOG_DIR/mnist/version_N/layer_profile.csv and .jsonl, and in a table
at the end. Several batch sizes make a study: each is trained for a few steps, and how the layers'
cost grows is in LOG_DIR/batch_size_study/version_N/report.html."""
_USAGE = """python train.py [--batch_size N [N ...]] [--layers NAME ...]
                [--dataset {auto,mnist,digits}]
                [--data_dir DIR] [--log_dir DIR] [--profile {true,false}]
                [--counters {none,ncu}] [--empirical_roofline {true,false}]
                [--figures {true,false}] [--trace {true,false}]
                [--nvtx {true,false}] [--tf32 {true,false}]
                [--find_limit] [--project DEVICE ...]
                [--study {continue,new}]
                [--schedule.wait N] [--schedule.warmup N] [--schedule.active N]
                [--schedule.max_share {SHARE,null}]
                [--config FILE] [--trainer.max_epochs N] [--trainer.OPTION VALUE ...]"""


class TrainingCLI(LightningCLI):
    """Lightning's command line with the options of the main job on top."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the short options and let them reach the data."""
        add_training_arguments(parser)
        command_line.add_study_arguments(parser)
        parser.add_class_arguments(Schedule, "schedule")
        for name in ("batch_size", "dataset", "data_dir"):
            parser.link_arguments(name, f"data.{name}")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """As in Lightning, but whatever stands there, the error is an ``ArgumentError``.

        jsonargparse lets others through: a ``RecursionError`` for a configuration that contains
        itself, an ``AttributeError`` for ``config: false`` in one.
        """
        try:
            super().parse_arguments(parser, args)
        except ArgumentError:
            raise
        except Exception as error:
            raise ArgumentError(None, f"the options can't be read: {error}") from error

    def before_instantiate_classes(self) -> None:
        """Log to ``LOG_DIR/mnist`` unless another logger, or none, was asked for."""
        _require_sense(self.config)
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


def build_cli(arguments: Sequence[str]) -> TrainingCLI:
    """Model, data, trainer and, unless it is switched off, the profiler from the command line.

    Args:
        arguments: What stands behind the program's name.

    Raises:
        ArgumentError: If an option is unknown or has a value of a wrong type.
        ImportError: If it needs a package that is not there.
        LayerSelectionError: If a layer to profile does not exist.
        MisconfigurationException: If the Trainer refuses a value.
        TypeError: If the Trainer refuses a value's type.
        ValueError: If a value makes no sense.
    """
    cli = TrainingCLI(
        MnistClassifier,
        MnistDataModule,
        args=list(arguments),
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
    if cli.config.tf32 is not None:
        allow_tf32(cli.config.tf32)
    if cli.config.profile or cli.config.nvtx:
        select_layers(cli.model, cli.config.layers)  # a mistake shows before anything is done
    if cli.config.nvtx:
        cli.trainer.callbacks.append(NvtxRanges(cli.config.layers))
    if cli.config.profile:
        counters = None if cli.config.counters == "none" else cli.config.counters
        cli.trainer.callbacks.append(
            LayerProfiler(
                cli.config.layers,
                cli.config_init.schedule,
                counters=counters,
                empirical_roofline=cli.config.empirical_roofline,
                figures=cli.config.figures,
                trace=cli.config.trace,
            )
        )
    return cli


def main() -> None:
    """Train, test, and say what came out; or study how it depends on the batch size."""
    quieten()
    sizes, others = command_line.split_batch_sizes(sys.argv[1:])
    if len(sizes) > 1:
        _study(sizes, others)
    else:
        _train(sys.argv[1:])


def prepare_point(arguments: Sequence[str], batch_size: int) -> Training:
    """The training of one batch size of a study, in the process of its own that it gets."""
    quieten()
    cli = build_cli([f"--config={_STUDY_CONFIG}", *arguments, f"--batch_size={batch_size}"])
    _log_to_own_version(cli)
    return Training(trainer=cli.trainer, model=cli.model, data=cli.datamodule)


def _study(sizes: Sequence[str], arguments: Sequence[str]) -> None:
    """Train several batch sizes in turn, and write how the layers' cost grows."""
    try:
        ordered = check_batch_sizes(sizes)
        cli = build_cli([f"--config={_STUDY_CONFIG}", *arguments, f"--batch_size={ordered[-1]}"])
        _require_writable(cli.config.log_dir)
        training = Training(trainer=cli.trainer, model=cli.model, data=cli.datamodule)
        plan = command_line.plan_study(ordered, cli.config, training, TRAIN_SAMPLES)
        cli.datamodule.prepare_data()
        command_line.run(partial(prepare_point, tuple(arguments)), plan)
    except (DataError, StudyError) as error:
        fail(error, status=1)
    except _MISTAKES as error:
        fail(error, status=2)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _train(arguments: Sequence[str]) -> None:
    try:
        cli = build_cli(arguments)
        command_line.require_study(cli.config)
        _require_writable(cli.config.log_dir)
        _require_writable(cli.trainer.default_root_dir)
        _log_to_own_version(cli)
    except _MISTAKES as error:
        fail(error, status=2)
    trainer = cli.trainer
    try:
        trainer.fit(cli.model, datamodule=cli.datamodule)
    except SystemExit:  # Lightning's own, after it has ended the training in order
        if not trainer.interrupted:
            raise
        print(f"Stopped by Ctrl-C in epoch {trainer.current_epoch}, nothing is tested", flush=True)
        sys.exit(_INTERRUPTED)
    except DataError as error:
        if trainer.log_dir is not None:
            with contextlib.suppress(OSError):  # of a run that never began, unless it has files
                Path(trainer.log_dir).rmdir()
        fail(error, status=1)
    except _MISTAKES as error:
        if trainer.global_step > 0:
            raise
        fail(error, status=2)  # some options are looked at with the data only
    results = trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    accuracy = next((each["test/accuracy"] for each in results if each), None)
    epochs = f"{trainer.current_epoch} epochs on {cli.datamodule.dataset_name}"
    if accuracy is None:
        print(f"Trained {epochs}; nothing was tested")
    else:
        print(f"Test accuracy after {epochs}: {accuracy:.2%}")


def _log_to_own_version(cli: TrainingCLI) -> None:
    if cli.logs_by_default:
        conditions = {
            "batch_size": cli.config.batch_size,
            "precision": str(cli.trainer.precision),
            "device": cli.trainer.strategy.root_device.type,
        }
        profiled = select_layers(cli.model, cli.config.layers).rows if cli.config.profile else ()
        metrics = [f"{name}/accuracy" for name in ("val", "test")] + [
            f"{layer.display_name}/{phase}/{quantity}"
            for layer in profiled[:_LAYERS_AS_METRICS]
            for quantity in ("flop_per_s", "peak_allocated_bytes")
            for phase in ("forward", "backward")
        ]
        cli.trainer.loggers = [
            LoggerOfOneRun(
                Path(cli.config.log_dir, _RUNS), new_version, conditions=conditions, metrics=metrics
            )
        ]


def _require_sense(config: Namespace) -> None:
    """Raise TypeError or ValueError for what neither jsonargparse nor Lightning looks at."""
    for name in ("trainer", "model", "data", "schedule"):
        if not isinstance(config[name], Namespace):
            raise TypeError(f"{name} must hold options by name, not {config[name]!r}")
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"):
        value = config.trainer[name]
        if isinstance(value, (int, float)) and value <= 0:  # Lightning would divide by it
            raise ValueError(f"trainer.{name} must be more than 0, not {value}")


def _require_writable(folder: str) -> None:
    """Raise ValueError unless files can be made in ``folder``, which is made if need be."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"can't write to the log folder {folder}: {error.strerror}") from error


if __name__ == "__main__":
    main()
