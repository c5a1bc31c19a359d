"""train.py as a user runs it: the main job, its mistakes, and what it leaves on disk."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.conftest import MNIST_DIR, read_csv, read_json
from tests.trainings.traces import read_trace

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
import train  # noqa: E402

FORWARD_FLOP = 2_717_908_992
TINY = [
    "--trainer.limit_train_batches=20",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.max_epochs=1",
    "--dataset=digits",
    "--batch_size=8",
    "--trainer.enable_progress_bar=false",
]


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """train.py's main in an empty folder, with Python's own warning settings."""
    monkeypatch.chdir(tmp_path)
    levels = {
        name: logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")
    }
    with warnings.catch_warnings():
        warnings.resetwarnings()

        def run_main(*arguments: str) -> None:
            monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
            train.main()

        yield run_main
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )


@pytest.fixture(scope="module")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The main job on MNIST in a fresh folder, cut short; the folder and the output."""
    folder = tmp_path_factory.mktemp("main_job")
    raw = folder / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in (MNIST_DIR / "MNIST" / "raw").glob("*.gz"):
        shutil.copy(archive, raw)
    done = run(
        folder,
        "--batch_size",
        "128",
        "--layers",
        "Conv2d-1",
        "Conv2d-2",
        "--trainer.limit_train_batches=30",
        "--trainer.limit_test_batches=8",
        "--trainer.max_epochs=2",
        "--trainer.accelerator=cpu",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder, done.stdout


@pytest.mark.mnist
def test_the_main_job_gives_the_worked_examples_numbers(main_job: tuple[Path, str]) -> None:
    folder, _ = main_job
    rows = read_csv(folder / "logs" / "mnist" / "version_0")
    assert len(rows) == 8
    for row in rows:
        expected = {
            ("Conv2d-2", "forward"): FORWARD_FLOP,
            ("Conv2d-2", "backward"): 2 * FORWARD_FLOP,
            # conv1's input needs no gradient: backward is once forward.
            ("Conv2d-1", "forward"): 2 * 128 * 32 * 26 * 26 * 9,
            ("Conv2d-1", "backward"): 2 * 128 * 32 * 26 * 26 * 9,
        }[row["layer"], row["phase"]]
        assert row["theoretical_flop"] == row["counted_flop"] == str(expected)
        assert (row["batch_size"], row["steps"], row["dataset"]) == ("128", "1", "mnist")
        assert row["note"] == ""
    assert rows[2]["allocated_bytes"] == "18874368"


@pytest.mark.mnist
def test_the_console_shows_progress_results_and_nothing_else(main_job: tuple[Path, str]) -> None:
    _, output = main_job
    caption = r"Per training step of 128 samples.*?clock\s+and\s+allocator\."
    output, captions = re.subn(caption, "", output, flags=re.DOTALL)
    assert captions == 2
    lines = [line for line in output.splitlines() if line.strip()]
    known = (
        r"Profiling Conv2d-[12]: conv[12] = Conv2d\(.*\)$",
        r"Epoch 1/1 |\s+(train/loss|val/accuracy|accuracy|loss|[0-9.]+)|Testing |\s+\d",
        r"Conv2d-[12] \(conv[12]\): what it should cost, what it costs",
        r"[┏┃┡│├└]",
        r"Written to logs/mnist/version_0: layer_profile.csv, layer_profile.jsonl$",
        r"See every epoch: tensorboard --logdir logs$",
        r"Test accuracy after 2 epochs on mnist: \d\d\.\d\d%$",
    )
    assert [line for line in lines if not any(re.match(each, line) for each in known)] == []
    assert sum(line.startswith("Test accuracy") for line in lines) == 1


@pytest.mark.mnist
def test_the_resolved_configuration_lies_beside_the_logs(main_job: tuple[Path, str]) -> None:
    folder, _ = main_job
    version = folder / "logs" / "mnist" / "version_0"
    config = yaml.safe_load((version / "config.yaml").read_text("utf-8"))
    assert config["layers"] == ["Conv2d-1", "Conv2d-2"]
    assert config["trainer"]["max_epochs"] == 2
    assert list(version.glob("events.out.tfevents.*"))


@pytest.mark.mnist
def test_a_window_is_read_in_less_than_a_step(main_job: tuple[Path, str]) -> None:
    """No time limit: reading and steps on two threads, taken in the same run, are compared."""
    folder, _ = main_job
    windows = read_json(folder / "logs" / "mnist" / "version_0")["windows"]
    per_step: dict[tuple[int, int], int] = {}
    for window in windows:
        for row in window["steps"]:
            key = window["epoch"], row["step"]
            per_step[key] = per_step.get(key, 0) + row["cpu_time_ns"]
    assert len(per_step) == 2
    assert 0 < min(window["reading_time_ns"] for window in windows) < min(per_step.values())


def test_a_bare_machine_trains_on_digits(main: Callable[..., None], tmp_path: Path) -> None:
    main(*TINY)
    rows = read_csv(tmp_path / "logs" / "mnist" / "version_0")
    assert {row["dataset"] for row in rows} == {"digits"}
    assert rows[0]["counted_flop"] == str(FORWARD_FLOP // 16)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.rglob("*.ckpt")
    state: dict[str, Any] = torch.load(path, weights_only=False)
    return state["state_dict"]


def test_one_seed_gives_one_result_with_the_callback_on_or_off(
    main: Callable[..., None], tmp_path: Path
) -> None:
    for folder, profile in (("on", "true"), ("again", "true"), ("off", "false")):
        main(*TINY, "--log_dir", folder, "--profile", profile)
    on, again, off = (weights(tmp_path / folder) for folder in ("on", "again", "off"))
    for other in (again, off):
        assert on.keys() == other.keys()
        assert all(torch.equal(on[name], other[name]) for name in on)
    assert read_csv(tmp_path / "on")
    assert not list((tmp_path / "off").rglob("layer_profile.*"))


MISTAKES = [
    (["--batch_size", "0"], "batch_size must be at least 1"),
    (["--batch_size", "-5"], "batch_size must be at least 1"),
    (["--batch_size", "many"], "batch_size"),
    (["--layers", "Conv2d-7"], "did you mean 'Conv2d-"),
    (["--config", "missing.yaml"], "missing.yaml"),
    (["--config", "broken.yaml"], "config"),
    (["--config", "unknown.yaml"], "nonsense"),
    (["--dataset", "cifar"], "dataset"),
    (["--log_dir", "a_file/logs"], "can't write to the log folder a_file/logs"),
    (["--schedule.active", "0"], "schedule.active must be a whole number of steps, at least 1"),
    (["--schedule.max_share", "2"], "schedule.max_share must be a number above 0 and at most 1"),
    (["--trainer.max_epoch", "3"], "max_epoch"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_one_line_and_leaves_nothing(
    main: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    (tmp_path / "a_file").touch()
    (tmp_path / "broken.yaml").write_text("a: [1", "utf-8")
    (tmp_path / "unknown.yaml").write_text("nonsense: 3\n", "utf-8")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stopped:
        main(*arguments)
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    after = [path for path in sorted(tmp_path.iterdir()) if path.name != "logs"]
    assert after == before
    assert not list(tmp_path.rglob("version_*"))


def test_a_batch_larger_than_the_data_is_one_line(
    main: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main("--batch_size", "60000")
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: batch_size 60000 is larger than the training data (55000 images)"
    assert not list(tmp_path.rglob("version_*"))


@pytest.mark.mnist
def test_a_wrong_checksum_ends_with_status_1(
    main: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte.gz").write_bytes(b"broken")
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert "train-labels-idx1-ubyte.gz has a wrong checksum" in capsys.readouterr().err
    assert not list(tmp_path.rglob("version_*"))


def test_ranges_for_nsight_need_no_profile(
    main: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[str] = []
    for name, stand_in in (("mark", len), ("range_push", pushed.append), ("range_pop", len)):
        monkeypatch.setattr(torch.cuda.nvtx, name, lambda *text, do=stand_in: do(*text or ("",)))
    main(*TINY, "--nvtx=true", "--profile=false", "--layers=Conv2d-1")
    assert pushed.count("Conv2d-1 forward") >= 20
    assert pushed.count("Conv2d-1 backward") == 20
    assert not list(Path("logs").rglob("layer_profile.csv"))


def test_the_trace_lies_beside_the_table(main: Callable[..., None], tmp_path: Path) -> None:
    main(*TINY, "--trace=true")
    folder = tmp_path / "logs" / "mnist" / "version_0"
    assert (folder / "layer_profile.csv").exists()
    trace = read_trace(folder / "trace_train.json.gz")
    (step,) = trace.named("training step 10")
    assert "conv2 forward" in trace.inside(step)


def test_without_a_logger_there_are_files_a_table_and_one_warning(
    main: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(*TINY, "--trainer.logger", "false")
    output = capsys.readouterr()
    (warning,) = output.err.splitlines()
    assert warning.startswith("warning: the training has no logger")
    assert "what it should cost" in output.out
    assert len(read_csv(tmp_path / "logs" / "lightning_profile" / "version_0")) == 2


def test_an_epoch_shorter_than_the_schedule_is_one_warning(
    main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    main(*TINY, "--trainer.limit_train_batches=8", "--trainer.max_epochs=2")
    (warning,) = capsys.readouterr().err.splitlines()
    assert "the epoch has 8: shrunk to wait 7, warmup 0, active 1" in warning


def test_ctrl_c_ends_it_with_everything_so_far_on_disk(tmp_path: Path) -> None:
    training = subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "train.py"), *TINY, "--trainer.max_epochs=1000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("layer_profile.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    training.send_signal(signal.SIGINT)
    output, errors = training.communicate(timeout=60)
    assert training.returncode == 130  # as shells have it
    assert "Traceback" not in errors + output
    assert "what it should cost" in output
    assert re.search(r"^Stopped by Ctrl-C in epoch \d+, nothing is tested$", output, re.MULTILINE)
    rows = read_csv(tmp_path)
    windows = read_json(tmp_path)["windows"]
    assert len(rows) == 2 * len(windows) >= 2


@pytest.mark.parametrize("name", ["default", "quick"])
def test_the_configurations_are_accepted(name: str) -> None:
    path = ROOT / "configs" / f"{name}.yaml"
    done = run(ROOT, "--config", str(path), "--print_config")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["trainer"]["max_epochs"] == 3


def test_help_explains_itself() -> None:
    done = run(ROOT, "--help")
    assert done.returncode == 0
    for words in ("--batch_size", "Images per training step", "tensorboard --logdir logs"):
        assert words in done.stdout


def rows_of_hparams(run: Path) -> tuple[Any, dict[str, Any], set[str]]:
    """Metrics that HParams names, how the run was started, and the scalars that there are."""
    events = EventAccumulator(str(run)).Reload()
    data = events.PluginTagToContent("hparams")
    assert sorted(data) == [
        "_hparams_/experiment",
        "_hparams_/session_end_info",
        "_hparams_/session_start_info",
    ]
    experiment, start = (
        plugin_data_pb2.HParamsPluginData.FromString(data[f"_hparams_/{name}"])
        for name in ("experiment", "session_start_info")
    )
    values = start.session_start_info.hparams
    return (
        [metric.name.tag for metric in experiment.experiment.metric_infos],
        {name: values[name].string_value or values[name].number_value for name in values},
        set(events.Tags()["scalars"]),
    )


def test_each_run_has_a_row_in_hparams(main: Callable[..., None], tmp_path: Path) -> None:
    main(*TINY, "--log_dir=out", "--trainer.accelerator=cpu")
    run = tmp_path / "out" / "mnist" / "version_0"
    metrics, values, scalars = rows_of_hparams(run)
    assert values == {
        "learning_rate": 1e-3,
        "batch_size": 8,
        "precision": "32-true",
        "device": "cpu",
    }
    assert "test/accuracy" in metrics
    assert "Conv2d-2/backward/flop_per_s" in metrics
    assert set(metrics) <= scalars
    # None was written for the sake of the row.
    events = EventAccumulator(str(run)).Reload()
    assert [len(events.Scalars(tag)) for tag in metrics] == [1] * len(metrics)


def test_without_its_own_requirements_it_says_how_to_get_them() -> None:
    program = "import runpy, sys; sys.modules['jsonargparse'] = None; runpy.run_path('train.py')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: train.py needs more than the package: pip install")
    assert len(done.stderr.splitlines()) == 1
