"""Places that can't be written: one warning, the training goes on, the next window tries again."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.report import whole_lines
from tests.conftest import read_all_rows, read_csv, read_json, train
from tests.faults.trainings import WINDOW_ROWS, run_with
from tests.trainings.traces import trace_of

SCHEDULE = Schedule(wait=1, warmup=1, active=2)


def profiler() -> LayerProfiler:
    return LayerProfiler(["Conv2d-1", "Conv2d-2"], SCHEDULE)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that a process without privileges can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def windows(folder: Path) -> list[str]:
    """The epochs in the CSV, in order; each with all of its rows."""
    rows = [row["epoch"] for row in read_all_rows(folder)]
    assert all(rows.count(epoch) == WINDOW_ROWS for epoch in rows)
    return list(dict.fromkeys(rows))


@pytest.mark.parametrize(
    ("fault", "says", "left"),
    [
        ("full disk", "File too large", ["0", "3"]),
        ("read-only", "Permission denied", ["0", "3"]),
        ("deleted", None, ["1", "2", "3"]),
    ],
)
def test_a_fault_of_the_disk_costs_the_windows_it_lasts(
    shared_folder: Path, fault: str, says: str | None, left: list[str]
) -> None:
    texts, steps = run_with(shared_folder, fault)
    assert steps == 4 * 8
    assert texts.pop(0).startswith("the training has no logger")
    files = ("layer_profile.csv", "layer_profile.jsonl", "trace_train.json.gz")
    for place, text in zip(files, texts, strict=False):
        assert f"epoch 1 could not be written to {place}, the training goes on" in text
        assert says is not None
        # The profiler writes its file elsewhere, without saying what went wrong.
        cause = "could not write its trace" if (fault, place) == ("full disk", files[2]) else says
        assert cause in text
    assert len(texts) == (3 if says else 0)  # one for each file
    assert windows(shared_folder) == left
    (path,) = shared_folder.rglob("layer_profile.jsonl")
    run, *lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert run["layers"][0]["layer"] == "Conv2d-1"
    assert [str(line["epoch"]) for line in lines] == left
    assert "derivations" in lines[0]  # the new file is whole by itself
    assert trace_of(shared_folder).named("training step 3")
    assert {each.name for each in path.parent.glob("[!.]*")} == set(files)


def test_where_there_is_no_room_for_a_trace_the_rows_are_written(shared_folder: Path) -> None:
    texts, steps = run_with(shared_folder, "no room for a trace")
    assert steps == 4 * 8
    (text,) = texts[1:]
    assert "epoch 1 could not be written to trace_train.json.gz, the training goes on" in text
    assert "torch.profiler could not write its trace" in text
    assert windows(shared_folder) == ["0", "1", "2", "3"]
    assert trace_of(shared_folder).named("training step 3")
    assert len(list(shared_folder.rglob("trace_*"))) == 1


class Watch(Callback):
    """Keeps what the file of the trace is at the end of each epoch."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (path,) = Path(trainer.log_dir or "").glob("trace_*")
        self.contents.append(path.read_bytes())


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ("lightning_profile.measurement.ChromeTrace.text", RuntimeError("a broken export")),
        ("pathlib.Path.replace", OSError(28, "No space left on device")),
    ],
)
def test_a_trace_that_can_not_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, fault: Exception
) -> None:
    def fail(*_: object) -> Any:
        raise fault

    class Break(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch == 1:
                monkeypatch.setattr(broken, fail)
            if trainer.current_epoch == 3:
                monkeypatch.undo()

    watch, ours = Watch(), LayerProfiler("Conv2d-2", SCHEDULE, trace=True)
    with pytest.warns(UserWarning, match="could not be written to trace_train.json.gz") as warned:
        train(tmp_path, ours, Break(), watch, max_epochs=4)
    (text,) = [text for each in warned if "layer profile" in (text := str(each.message))]
    assert type(fault).__name__ in text
    assert {row["epoch"] for row in read_csv(tmp_path)} == {"0", "1", "2", "3"}
    assert watch.contents[0] == watch.contents[1] == watch.contents[2] != watch.contents[3]
    assert len(list(tmp_path.rglob("*.part"))) == 0
    # An earlier window's trace is not taken for that of this one.
    assert ["The trace of" in text for text in summaries(tmp_path)] == [True, False, False, True]


def summaries(folder: Path) -> list[str]:
    """TensorBoard's text of each window."""
    (events,) = folder.rglob("events.out.tfevents.*")
    tag = "(summary)/theory_and_measurement/text_summary"
    texts = EventAccumulator(str(events)).Reload().Tensors(tag)
    return [text.tensor_proto.string_val[0].decode() for text in texts]


def test_what_fits_only_in_part_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    whole_lines.append(path, "one\n")

    class Full(io.FileIO):
        """Takes three bytes at a time, until there is no room."""

        def write(self, data: Any) -> int:
            if self.tell() > len("one\ntwo"):
                raise OSError(28, "No space left on device")
            return super().write(data[:3])

    class OnFullDisk(type(path)):  # type: ignore[misc]
        def open(self, mode: str, **_: Any) -> Any:
            return Full(self, mode)

    with pytest.raises(OSError, match="No space left"):
        whole_lines.append(OnFullDisk(path), "two, three\n")
    assert path.read_text("utf-8") == "one\n"


def test_a_place_that_is_obstructed_is_one_warning_and_is_tried_again(tmp_path: Path) -> None:
    class Obstruct(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            path = Path(trainer.log_dir or "") / "layer_profile.csv"
            if trainer.current_epoch < 2:
                path.mkdir(exist_ok=True, parents=True)
            else:
                path.rmdir()

    with pytest.warns(UserWarning, match=r"could not be written to layer_profile.csv") as warned:
        train(tmp_path, Obstruct(), profiler(), max_epochs=3)
    assert len([w for w in warned if "layer_profile.csv" in str(w.message)]) == 1
    assert {row["epoch"] for row in read_csv(tmp_path)} == {"2"}
    assert len(read_json(tmp_path)["windows"]) == 3


@pytest.mark.filterwarnings("ignore:the training has no logger")
def test_a_folder_that_can_not_be_made_is_tried_again(tmp_path: Path) -> None:
    obstacle = tmp_path / "lightning_profile"
    obstacle.write_text("a file where the folder should be")

    class Remove(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch == 1:
                obstacle.unlink()

    with pytest.warns(UserWarning, match="could not be written") as warned:
        train(tmp_path, profiler(), Remove(), logger=False, max_epochs=3)
    assert windows(tmp_path) == ["1", "2"]
    assert len([each for each in warned if "could not be" in str(each.message)]) == 2


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_a_logger_that_raises_stops_neither_the_training_nor_the_files(
    tmp_path: Path, kind: type[Any]
) -> None:
    class Raising(kind):  # type: ignore[misc]
        is_broken = True
        accepted = 0

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            if any(name.startswith("Conv2d-2/") for name in metrics):
                if self.is_broken:
                    raise ConnectionError("the service is away")
                self.accepted += 1
            super().log_metrics(metrics, step)

    class Mend(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            logger.is_broken = trainer.current_epoch < 1

    logger = Raising(tmp_path, name="runs")
    with pytest.warns(UserWarning, match="logger 1 .Raising., the training goes on") as warned:
        _, trainer = train(tmp_path, profiler(), Mend(), logger=logger, max_epochs=3)
    (text,) = [text for each in warned if "layer profile" in (text := str(each.message))]
    assert "ConnectionError: the service is away" in text
    assert trainer.global_step == 3 * 8
    assert logger.accepted == 1
    assert windows(tmp_path) == ["0", "1", "2"]
