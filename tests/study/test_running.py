"""Real trainings of small models: every batch size a point, whatever becomes of it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from torch import Tensor

from lightning_profile import LayerProfiler, LayerSelectionError, Schedule
from lightning_profile.study import Study, StudyError, in_this_process, run_study
from lightning_profile.study.conduct import Plan, conduct
from lightning_profile.study.out_of_memory import is_out_of_memory, requested_bytes
from lightning_profile.study.point import STEP_NAME, Point, read_point, write_point
from lightning_profile.study.training import Training, train_point
from tests.conftest import SmallCnn, small_data
from tests.study.made import point

TOO_MUCH = 2**61  # bytes; no machine has them
SCHEDULE = Schedule(wait=2, warmup=0, active=3)


class OutOfMemoryAt(SmallCnn):
    """Asks for far too much memory if the batch is large."""

    def __init__(self, largest: int) -> None:
        super().__init__()
        self.largest = largest

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if len(batch[0]) > self.largest:
            torch.empty(TOO_MUCH, dtype=torch.uint8)
        return super().training_step(batch, batch_idx)


class FailsAt(SmallCnn):
    """Has a fault that only a batch of 8 meets."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if len(batch[0]) == 8:
            raise ZeroDivisionError("of all things")
        return super().training_step(batch, batch_idx)


def data(batch_size: int) -> Any:
    return small_data(samples=20 * batch_size, batch_size=batch_size)


def study(folder: Path, sizes: list[int], **options: Any) -> Study:
    settings: dict[str, Any] = {
        "make_model": SmallCnn,
        "make_data": data,
        "layers": ["conv2", "Linear-1"],
        "schedule": SCHEDULE,
        "folder": folder,
        "run_point": in_this_process,
        "trainer_options": {"accelerator": "cpu"},
    }
    settings |= options
    return run_study(settings.pop("make_model"), settings.pop("make_data"), sizes, **settings)


def test_each_training_has_its_trace_if_asked_for(tmp_path: Path) -> None:
    made = study(tmp_path, [4, 8], trace=True)
    folders = {Path(point.run_folder or "") for point in made.analysis.points}
    assert {path.parent for path in tmp_path.rglob("trace_train.json.gz")} == folders
    assert len(folders) == 2


def test_every_batch_size_has_its_numbers_and_flop_grow_as_theory_says(tmp_path: Path) -> None:
    made = study(tmp_path, [4, 8, 16]).analysis
    assert made.batch_sizes == [4, 8, 16]
    # 4 → 8 channels of 10 × 10 pixels by 3 × 3 weights.
    for phase, products in (("forward", 1), ("backward", 2)):
        series = made.of(("Conv2d-2", "conv2", phase), "counted_flop")
        assert series is not None
        assert series.line is not None
        assert series.theory_line is not None
        assert series.line == series.theory_line
        assert series.line.is_exact
        assert series.line.slope == products * 2 * 8 * 100 * 4 * 9
    time = made.time_of(made.step)
    assert time is not None
    assert all(value > 0 for value in time.values.values())
    runs = {each.run_folder for each in made.points}
    assert len(runs) == 3
    assert all(Path(str(each), "layer_profile.csv").exists() for each in runs)


def test_steps_that_are_not_recorded_are_timed_also_where_the_epoch_is_as_short_as_the_window(
    tmp_path: Path,
) -> None:
    def few(batch_size: int) -> Any:
        return small_data(samples=5 * batch_size, batch_size=batch_size)

    made = study(tmp_path, [4, 8], make_data=few)
    assert made.analysis.time_of(made.analysis.step) is not None
    for each in made.analysis.points:
        (step,) = [row for row in each.rows if row.layer == STEP_NAME]
        assert step.values["wall_time_ns"] > 0
        assert step.ranges["wall_time_ns"][0] > 0
    assert len(list(tmp_path.rglob("layer_profile.csv"))) == 2  # the timing leaves no run behind


def test_a_fault_of_the_second_training_costs_the_wall_time_only_and_is_said(
    tmp_path: Path,
) -> None:
    made: list[int] = []

    def few(batch_size: int) -> Any:
        made.append(batch_size)
        if made == [4, 4, 4]:  # the first time for the settings only
            raise ZeroDivisionError("at the second training")
        return small_data(samples=5 * batch_size, batch_size=batch_size)

    point, _ = study(tmp_path, [4, 8], make_data=few).analysis.points
    assert point.status == "finished"
    assert point.message.startswith(
        "without a wall time: ZeroDivisionError: at the second training"
    )
    (step,) = [row for row in point.rows if row.layer == STEP_NAME]
    assert "wall_time_ns" not in step.values
    assert "at the second training" in (next(tmp_path.rglob("report.md"))).read_text("utf-8")


def test_a_study_trains_the_same_weights_as_a_training_without_it(tmp_path: Path) -> None:
    kept: list[dict[str, Tensor]] = []

    def prepare(batch_size: int) -> Training:
        seed_everything(1, verbose=False)
        model: LightningModule = SmallCnn()
        trainer = Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[LayerProfiler("conv2", SCHEDULE)],
            logger=False,
            default_root_dir=tmp_path,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        kept.append(model.state_dict())
        return Training(trainer=trainer, model=model, data=data(batch_size))

    with pytest.warns(UserWarning, match="has no logger"):
        assert train_point(prepare, 4).status == "finished"
    training = prepare(4)
    training.trainer.callbacks.clear()  # type: ignore[attr-defined]
    training.trainer.fit(training.model, training.data)
    studied, bare = kept
    assert all(torch.equal(studied[name], bare[name]) for name in bare)


def test_running_out_of_memory_ends_the_point_and_not_the_study(tmp_path: Path) -> None:
    made = study(tmp_path, [4, 8, 16], make_model=partial(OutOfMemoryAt, 8))
    assert [each.status for each in made.analysis.points] == [
        "finished",
        "finished",
        "out of memory",
    ]
    assert made.analysis.points[-1].requested_bytes == TOO_MUCH
    assert "ran out of memory, as it asked for 2097152.00 TiB" in (
        made.folder / "report.md"
    ).read_text("utf-8")


def test_a_fault_ends_the_point_and_is_named_and_tried_again(tmp_path: Path) -> None:
    made = study(tmp_path, [4, 8, 16], make_model=FailsAt)
    assert [each.status for each in made.analysis.points] == ["finished", "failed", "finished"]
    assert "Batch size 8 is missing: ZeroDivisionError: of all things" in (
        made.folder / "report.md"
    ).read_text("utf-8")
    trained = {each.batch_size: each.duration_s for each in made.analysis.points}
    again = study(tmp_path, [4, 8, 16], make_model=FailsAt)
    assert again.folder == made.folder
    now = {each.batch_size: each.duration_s for each in again.analysis.points}
    assert (now[4], now[16]) == (trained[4], trained[16])
    assert now[8] != trained[8]


def test_a_study_without_one_point_says_why(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no batch size could be trained: .*allocate memory"):
        study(tmp_path, [4, 8], make_model=partial(OutOfMemoryAt, 1))


def test_missing_batch_sizes_are_trained_and_those_that_are_there_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = study(tmp_path, [4, 8])
    capsys.readouterr()
    second = study(tmp_path, [4, 8, 16])
    assert second.folder == first.folder
    printed = capsys.readouterr().out
    assert "2 of 3 batch sizes are there (4, 8), missing are 16" in printed
    assert second.analysis.points[:2] == first.analysis.points
    study(tmp_path, [4, 8, 16], project_to=["T4"])
    assert "has all 3 batch sizes with these settings: nothing is trained" in (
        capsys.readouterr().out
    )
    assert "projection: T4" in (first.folder / "study.csv").read_text("utf-8")


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 7},
        {"layers": ["conv2"]},
        {"schedule": Schedule(wait=1, warmup=0, active=3)},
        {"trainer_options": {"accelerator": "cpu", "limit_train_batches": 15}},
        {"make_model": partial(OutOfMemoryAt, 99)},
        {"continue_earlier": False},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_settings_start_a_study_of_their_own(tmp_path: Path, other: dict[str, Any]) -> None:
    first, second = study(tmp_path, [4, 8]), study(tmp_path, [4, 8], **other)
    assert second.folder != first.folder
    assert second.folder.parent == first.folder.parent


def test_the_console_says_which_points_were_disturbed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = {"wall_time_ns": lambda _: 1e9, "interruptions": lambda n: 400 * (n == 16)}
    plan = Plan(batch_sizes=[16, 32], settings={}, root=tmp_path)
    conduct(data, plan, lambda _, size, path, is_trial: point(size, step=busy))
    assert capsys.readouterr().out.splitlines()[1:3] == [
        "  batch size 16: 1 s per step, disturbed by other programs or threads",
        "  batch size 32: 1 s per step",
    ]


def with_peaks(folder: Path, bytes_per_sample: int) -> None:
    """The points in ``folder`` as if that were their peaks, on a machine with 13 MiB."""
    for path in (folder / "points").glob("batch_size_*.json"):
        found = read_point(path)
        assert found is not None
        peak = 2**20 + bytes_per_sample * found.batch_size
        values = {"peak_tensor_bytes": peak, "peak_resident_bytes": peak, "wall_time_ns": 1e6}
        document = json.loads(path.read_text("utf-8"))
        document["rows"][0]["values"] = values
        document["machine"]["capacity_bytes"] = 2**20 * 13
        path.write_text(json.dumps(document), "utf-8")


def test_the_limit_is_tried_where_it_is_asked_for(tmp_path: Path) -> None:
    with_peaks(study(tmp_path, [4, 8]).folder, 2**20)
    made = study(tmp_path, [4, 8], find_limit=True).analysis
    assert (made.points[-1].batch_size, made.points[-1].is_trial) == (12, True)
    assert made.points[-1].status == "finished"
    assert made.batch_sizes == [4, 8]


def test_where_the_peaks_tell_of_no_limit_none_is_tried_and_the_console_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_peaks(study(tmp_path, [4, 8]).folder, 0)
    made = study(tmp_path, [4, 8], find_limit=True).analysis
    assert [point.batch_size for point in made.points] == [4, 8]
    assert (
        "No larger batch is tried. How large a batch fits can't be told" in capsys.readouterr().out
    )


MISTAKES: list[tuple[list[Any], dict[str, Any], str]] = [
    ([16], {}, "several batch sizes"),
    ([], {}, "several batch sizes"),
    ([16, 16], {}, "batch size 16 is named twice"),
    ([0, 16], {}, "at least 1"),
    ([-4, 16], {}, "at least 1"),
    ([4.5, 16], {}, "whole numbers"),
    ([True, 16], {}, "whole numbers"),
    (["many", 16], {}, "whole numbers"),
    ([4, 8], {"project_to": ["Z9"]}, "no device 'Z9'"),
    ([4, 8], {"trainer_options": {"accelerator": "cpu", "devices": 2}}, "set trainer.devices to 1"),
]


@pytest.mark.parametrize(("sizes", "options", "words"), MISTAKES)
def test_a_mistake_is_named_before_anything_is_trained(
    tmp_path: Path, sizes: list[Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        study(tmp_path, sizes, **options)
    assert not list(tmp_path.rglob("points"))


def test_a_layer_that_does_not_exist_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(LayerSelectionError, match="conv9"):
        study(tmp_path, [4, 8], layers="conv9")
    assert not list(tmp_path.rglob("points"))


def test_what_cannot_be_sent_to_a_process_is_named_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match="run_point=in_this_process"):
        run_study(lambda: SmallCnn(), data, [4, 8], folder=tmp_path)  # noqa: PLW0108
    assert not list(tmp_path.rglob("points"))


CUDA_MESSAGE = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 1.25 GiB is free. If reserved but unallocated memory is large try setting …"
)


def test_messages_of_missing_memory_are_read() -> None:
    cuda = torch.OutOfMemoryError(CUDA_MESSAGE)
    assert is_out_of_memory(cuda)
    assert requested_bytes(cuda) == int(2.5 * 2**30)
    with pytest.raises(RuntimeError) as raised:
        torch.empty(TOO_MUCH, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
    assert requested_bytes(raised.value) == TOO_MUCH
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert requested_bytes(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")) is None
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator: can't allocate memory"))


def test_a_point_is_read_as_it_was_written_and_a_torn_one_is_missing(tmp_path: Path) -> None:
    made = point(16)
    path = tmp_path / "batch_size_16.json"
    write_point(path, made)
    assert read_point(path) == made
    whole = path.read_text("utf-8")
    for text in (whole[: len(whole) // 2], "", "[]", '{"format": 99}', '{"format": 1}'):
        path.write_text(text, "utf-8")
        assert read_point(path) is None
    assert read_point(tmp_path / "none.json") is None
    assert isinstance(made, Point)
