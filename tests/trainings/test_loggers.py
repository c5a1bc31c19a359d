"""Whatever logs the training gets the numbers; the files lie in one folder of the run's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, WandbLogger

from lightning_profile import LayerProfiler
from tests.conftest import read_csv, train
from tests.trainings.rows import SCHEDULE, profile
from tests.trainings.test_passes import CONV2, Model

TAG = "Conv2d-2/forward/counted_flop"

# Of these packages themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def logged_by_csv(folder: Path, logger: Logger) -> float:
    (metrics,) = folder.rglob("metrics.csv")
    header, values = (line.split(",") for line in metrics.read_text("utf-8").splitlines()[:2])
    return float(dict(zip(header, values, strict=True))[TAG])


def test_csv_logger(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="csv")
    profile(tmp_path, "conv2", model=Model, logger=logger)
    assert logged_by_csv(tmp_path, logger) == CONV2


def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    profile(tmp_path, "conv2", model=Model, logger=logger)
    try:
        assert logger.experiment.summary[TAG] == CONV2
    finally:
        logger.experiment.finish()


def test_mlflow_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger(save_dir=str(tmp_path / "mlflow"))
    profile(tmp_path, "conv2", model=Model, logger=logger)
    run = logger.experiment.get_run(logger.run_id)
    assert run.data.metrics[TAG] == CONV2


def test_several_loggers_and_the_files_lie_once(tmp_path: Path) -> None:
    loggers = [CSVLogger(tmp_path / name, name=name) for name in ("one", "two")]
    profile(tmp_path, "conv2", model=Model, logger=loggers)
    for logger in loggers:
        assert logged_by_csv(Path(logger.save_dir), logger) == CONV2
    assert len(read_csv(tmp_path)) == 2


def test_a_logger_without_a_folder_per_run_leaves_each_run_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for version in range(2):
        logger = MLFlowLogger(save_dir=str(tmp_path / "mlflow"))
        train(tmp_path, LayerProfiler("conv2", SCHEDULE), model=Model, logger=logger)
        assert len(read_csv(tmp_path / "lightning_profile" / f"version_{version}")) == 2
