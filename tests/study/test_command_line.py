"""``python train.py --batch_size 16 32 …`` as a user runs it."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_profile.study.command_line import split_batch_sizes
from tests.test_train import main, run

__all__ = ["main"]  # a fixture
SHORT = [
    "--dataset=digits",
    "--trainer.accelerator=cpu",
    "--trainer.limit_train_batches=12",
    "--schedule.wait=3",
    "--schedule.active=2",
]


@pytest.mark.parametrize(
    ("arguments", "sizes", "others"),
    [
        (["--batch_size", "16", "32"], ["16", "32"], []),
        (["--batch_size", "16", "32", "--layers", "a", "b"], ["16", "32"], ["--layers", "a", "b"]),
        (["--layers", "a", "--batch_size", "16", "-5"], ["16", "-5"], ["--layers", "a"]),
        (["--batch_size=16", "--profile", "true"], ["16"], ["--profile", "true"]),
        (["--batch_size", "1", "2", "--batch_size", "128"], ["128"], []),  # the last one counts
        (["--layers", "all"], [], ["--layers", "all"]),
    ],
)
def test_batch_sizes_are_told_from_the_other_arguments(
    arguments: list[str], sizes: list[str], others: list[str]
) -> None:
    assert split_batch_sizes(arguments) == (sizes, others)


MISTAKES = [
    (["--batch_size", "0", "16"], "batch sizes must be at least 1"),
    (["--batch_size", "16", "-5"], "batch sizes must be at least 1"),
    (["--batch_size", "16", "16"], "batch size 16 is named twice"),
    (["--batch_size", "16", "many"], "batch sizes are whole numbers"),
    (["--batch_size", "16", "1.5"], "batch sizes are whole numbers"),
    (["--batch_size", "16", "32", "--profile", "false"], "needs --profile true"),
    (["--batch_size", "16", "32", "--layers", "Conv2d-7"], "did you mean 'Conv2d-"),
    (["--batch_size", "16", "32", "--project", "Z9"], "there are: P100 PCIe"),
    (["--batch_size", "16", "32", "--study", "old"], "study"),
    (["--batch_size", "16", "32", "--config", "missing.yaml"], "missing.yaml"),
    (["--batch_size", "16", "32", "--log_dir", "a_file/logs"], "can't write to the log folder"),
    (["--batch_size", "16", "32", "--trainer.devices", "2"], "devices"),
    (["--batch_size", "128", "--find_limit"], "find_limit is for a study of several batch sizes"),
    (["--batch_size", "128", "--project", "V100"], "project is for a study of several"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda value: str(value)[:50])
def test_a_mistake_is_one_line_before_anything_is_trained(
    main: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    (tmp_path / "a_file").touch()
    warnings.simplefilter("ignore", DeprecationWarning)  # jsonargparse's, for its own authors
    with pytest.raises(SystemExit) as stopped:
        main(*arguments, "--trainer.accelerator=cpu")
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not list(tmp_path.rglob("version_*"))


def test_a_batch_larger_than_the_data_is_one_line_and_costs_no_other_batch(
    main: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main("--batch_size", "16", "60000", "--trainer.accelerator=cpu")
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: batch_size 60000 is larger than the training data (55000 images)"
    assert not list(tmp_path.rglob("version_*"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("study")
    done = run(folder, "--batch_size", "16", "4", "8", *SHORT)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


def test_three_batch_sizes_are_three_runs_and_a_study(finished: tuple[Path, str]) -> None:
    folder, output = finished
    study = folder / "logs" / "batch_size_study" / "version_0"
    runs = folder / "logs" / "mnist"
    assert {path.name for path in study.iterdir()} >= {
        "study.csv",
        "study.json",
        "report.md",
        "report.html",
        "figures",
    }
    assert sorted(path.name for path in runs.iterdir()) == ["version_0", "version_1", "version_2"]
    for line in output.splitlines()[1:-1]:
        assert line.startswith("  batch size ")
        assert " per step, peak " in line
    assert output.splitlines()[-1] == "The study: logs/batch_size_study/version_0/report.html"


def test_a_studys_flop_are_those_of_the_worked_example(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    path = folder / "logs" / "batch_size_study" / "version_0" / "study.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["quantity"] == "counted_flop"]
    for row in rows:
        if row["layer"] == "Conv2d-2":
            products = {"forward": 1, "backward": 2}[row["phase"]]
            assert row["slope"] == row["theoretical_slope"] == str(products * 21_233_664)
            assert (row["intercept"], row["r_squared"]) == ("0", "1")
    assert {row["layer"] for row in rows} == {"Conv2d-2", "optimizer", "rest-of-step"}


def test_the_same_command_trains_nothing_again(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    done = run(folder, "--batch_size", "4", "8", "16", *SHORT, "--project", "t4")
    assert (done.returncode, done.stderr) == (0, "")
    assert "has all 3 batch sizes with these settings: nothing is trained" in done.stdout
    assert len(list((folder / "logs" / "mnist").iterdir())) == 3
    study = folder / "logs" / "batch_size_study" / "version_0"
    assert "on T4 (fp32" in (study / "report.md").read_text("utf-8")
