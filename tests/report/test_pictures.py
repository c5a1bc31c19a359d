"""TensorBoard's pictures: what they show, and that the training neither waits nor fails."""

from __future__ import annotations

import math
import os
import signal
import struct
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.report import drawing_process
from tests.conftest import ValidatedCnn, train

SCHEDULE = Schedule(wait=1)
KINDS = ["kernels", "memory", "roofline"]
TAGS = [f"(figures)/{kind}" for kind in KINDS]

pytestmark = pytest.mark.pictures


def pictures(folder: Path) -> dict[str, list[Any]]:
    """TensorBoard's images by tag."""
    (run,) = (folder / "runs").iterdir()
    events = EventAccumulator(str(run), size_guidance={"images": 0}).Reload()
    return {tag: events.Images(tag) for tag in events.Tags()["images"]}


def children() -> set[int]:
    """Processes that this one has started and that are still there, zombies too."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(path.parent.name))
    return found


def drawers() -> set[int]:
    found = set()
    for pid in children():
        try:
            if b"drawing" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
        except OSError:
            continue
    return found


class Each(Callback):
    """Does something at the start of each epoch."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.act(trainer.current_epoch)


def wait_for(folder: Path, count: int) -> None:
    """Until so many pictures are drawn."""
    end = time.monotonic() + 60
    while len(list(folder.rglob("*.png"))) < count and time.monotonic() < end:
        time.sleep(0.05)


@pytest.fixture
def long_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every epoch took long enough for pictures of its own."""
    monkeypatch.setattr("lightning_profile.report.pictures._INTERVAL_S", 0.0)


@pytest.mark.usefixtures("long_epochs")
def test_every_window_has_its_pictures_at_its_step(tmp_path: Path) -> None:
    drawn = Each(lambda epoch: wait_for(tmp_path, 3 * epoch))
    train(tmp_path, LayerProfiler("all", SCHEDULE), drawn, max_epochs=3)
    found = pictures(tmp_path)
    assert sorted(found) == TAGS
    for tag, events in found.items():
        assert [event.step for event in events] == [2, 10, 18]
        kind = tag.rpartition("/")[2]
        (last,) = tmp_path.rglob(f"train_000018_{kind}.png")
        png = last.read_bytes()
        assert events[-1].encoded_image_string == png
        assert (events[-1].width, events[-1].height) == struct.unpack(">II", png[16:24])


def test_of_windows_within_seconds_the_first_and_the_last_of_a_stage_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_profile.report.pictures._INTERVAL_S", math.inf)
    drawn = Each(lambda epoch: wait_for(tmp_path, 6 * epoch))
    profiler = LayerProfiler("Conv2d-2", SCHEDULE, stages=["train", "validate"])
    train(tmp_path, profiler, drawn, max_epochs=4, model=ValidatedCnn)
    found = pictures(tmp_path)
    steps = {tag: [event.step for event in events] for tag, events in found.items()}
    assert steps["(figures)/roofline"] == [2, 3 * 8 + 2]
    assert steps["(figures)/validate/roofline"] == [8, 4 * 8]
    assert len(list(tmp_path.rglob("*.png"))) == 4 * 6  # all are in the folder


@pytest.mark.usefixtures("long_epochs")
def test_they_are_added_while_the_training_goes_on(tmp_path: Path) -> None:
    seen = []

    def look(epoch: int) -> None:
        wait_for(tmp_path, 3 * epoch)
        if epoch == 2:
            seen.append(pictures(tmp_path))

    train(tmp_path, LayerProfiler("Conv2d-2", SCHEDULE), Each(look), max_epochs=3)
    assert [event.step for event in seen[0]["(figures)/memory"]] == [2]


@pytest.mark.usefixtures("long_epochs")
def test_of_short_epochs_the_last_has_its_pictures(tmp_path: Path) -> None:
    train(tmp_path, LayerProfiler("Conv2d-2", SCHEDULE), max_epochs=12)
    steps = [event.step for event in pictures(tmp_path)["(figures)/roofline"]]
    assert steps[-1] == 11 * 8 + 2
    assert steps == sorted(set(steps))


def test_nothing_is_left_of_the_process_that_draws(tmp_path: Path) -> None:
    train(tmp_path / "first", LayerProfiler("Conv2d-2", SCHEDULE))
    before = children(), sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    train(tmp_path / "second", LayerProfiler("Conv2d-2", SCHEDULE))
    assert (children(), sorted(os.listdir("/proc/self/fd"))) == before  # noqa: PTH208


def test_nor_after_an_exception_and_its_windows_are_drawn(tmp_path: Path) -> None:
    before = children()

    def fail(epoch: int) -> None:
        if epoch == 1:
            raise ValueError("the user's own fault")

    with pytest.raises(ValueError, match="the user's own"):
        train(tmp_path, LayerProfiler("Conv2d-2", SCHEDULE), Each(fail), max_epochs=2)
    assert children() == before
    assert sorted(pictures(tmp_path)) == TAGS


def test_a_worker_that_holds_the_input_open_does_not_keep_it(tmp_path: Path) -> None:
    data = TensorDataset(torch.randn(64, 1, 12, 12), torch.randint(0, 10, (64,)))
    loader = DataLoader(
        data, batch_size=8, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    )
    before = children()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fork beside threads
        train(tmp_path, LayerProfiler("Conv2d-2", SCHEDULE), data=loader, max_epochs=2)
    assert not {pid for pid in children() - before if pid in drawers()}
    assert sorted(pictures(tmp_path)) == TAGS


@pytest.mark.usefixtures("long_epochs")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_if_it_dies_or_hangs_there_is_one_warning_and_no_picture_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr("lightning_profile.report.pictures._PATIENCE_S", 0.5)

    def hit(epoch: int) -> None:
        if epoch == 1:
            for pid in drawers():
                os.kill(pid, number)

    before = children()
    with pytest.warns(UserWarning, match="TensorBoard's pictures") as warned:
        _, trainer = train(tmp_path, LayerProfiler("Conv2d-2", SCHEDULE), Each(hit), max_epochs=4)
    assert len([each for each in warned if "layer profile" in str(each.message)]) == 1
    assert trainer.global_step == 4 * 8
    assert children() == before


@pytest.mark.usefixtures("long_epochs")
def test_a_program_that_fails_is_quoted_in_the_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "broken.py"
    program.write_text("raise ImportError('no library to draw with')")
    monkeypatch.setattr(drawing_process, "_PROGRAM", program)
    with pytest.warns(UserWarning, match="ImportError: no library to draw with") as warned:
        train(tmp_path, LayerProfiler("Conv2d-2", SCHEDULE), max_epochs=3)
    assert len([each for each in warned if "layer profile" in str(each.message)]) == 1


def test_without_matplotlib_there_is_a_line_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lightning_profile.report.run_report._DRAWN_WITH", "no_such_package")
    train(tmp_path, LayerProfiler("Conv2d-2", SCHEDULE))
    assert "No pictures of the layers in TensorBoard: no_such_package" in capfd.readouterr().out
    assert pictures(tmp_path) == {}


@pytest.mark.parametrize("options", [{"logger": False}, {"fast_dev_run": 2}])
def test_without_tensorboard_nothing_is_started(tmp_path: Path, options: dict[str, Any]) -> None:
    seen: list[set[int]] = []
    look = Each(lambda _: seen.append(drawers()))
    if "logger" in options:
        with pytest.warns(UserWarning, match="no logger"):
            train(tmp_path, LayerProfiler("Conv2d-2", SCHEDULE), look, max_epochs=2, **options)
    else:
        train(tmp_path, LayerProfiler("Conv2d-2", Schedule(wait=0)), look, **options)
    assert not any(seen)
    assert not list(tmp_path.rglob("*.png"))


def test_switched_off_nothing_is_started(tmp_path: Path) -> None:
    seen: list[set[int]] = []
    profiler = LayerProfiler("Conv2d-2", SCHEDULE, figures=False)
    train(tmp_path, profiler, Each(lambda _: seen.append(drawers())), max_epochs=2)
    assert not any(seen)
    assert pictures(tmp_path) == {}


def test_the_process_that_draws_has_the_lowest_priority_and_no_torch(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    def look(epoch: int) -> None:
        wait_for(tmp_path, 3 * epoch)
        for pid in drawers():
            maps = Path(f"/proc/{pid}/maps").read_text("utf-8")
            seen.append((os.getpriority(os.PRIO_PROCESS, pid), maps))

    train(tmp_path, LayerProfiler("Conv2d-2", SCHEDULE), Each(look), max_epochs=2)
    ((priority, maps),) = seen
    assert priority == 19
    assert "libtorch" not in maps


def test_the_program_ends_with_its_input() -> None:
    done = subprocess.run(
        [sys.executable, str(drawing_process._PROGRAM)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
