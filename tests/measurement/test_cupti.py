"""Letting go of CUDA's tracing library: its conditions here, that it works on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from lightning_profile.measurement import Window
from lightning_profile.measurement.cupti import let_go_of_cupti

REPOSITORY = Path(__file__).parents[2]
SETTING = "TEARDOWN_CUPTI"


@pytest.fixture(autouse=True)
def no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A recent CUDA; what is called of it, as there may be none here."""
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    called: list[str] = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: called.append("current_device"))
    return called


def test_the_block_is_left_once_the_thread_that_began_in_it_has_ended(calls: list[str]) -> None:
    given_up = threading.Event()

    def teardown() -> None:  # as kineto's, which ends at the first call into CUDA
        while len(calls) < 3 and not given_up.wait(0.001):
            pass

    thread = threading.Thread(target=teardown)
    with let_go_of_cupti():
        assert os.environ[SETTING] == "1"
        thread.start()
    was_alive = Path(f"/proc/self/task/{thread.native_id}").exists()
    given_up.set()
    thread.join()
    assert not was_alive
    assert len(calls) >= 3
    assert SETTING not in os.environ


def test_a_thread_that_stays_is_not_waited_for_without_end(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_profile.measurement.cupti._PATIENCE_S", 0.05)
    stay = threading.Event()
    thread = threading.Thread(target=stay.wait)
    with let_go_of_cupti():
        thread.start()
    assert thread.is_alive()
    assert SETTING not in os.environ
    stay.set()
    thread.join()


def test_threads_that_were_there_are_not_waited_for(calls: list[str]) -> None:
    with let_go_of_cupti():
        pass
    assert not calls


@pytest.mark.parametrize("value", ["0", "1", ""])
def test_the_users_own_setting_holds(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(SETTING, value)
    with let_go_of_cupti():
        assert os.environ[SETTING] == value
    assert os.environ[SETTING] == value


def test_an_exception_in_the_block_leaves_no_setting(calls: list[str]) -> None:
    with pytest.raises(RuntimeError, match="mine"), let_go_of_cupti():
        raise RuntimeError("mine")
    assert SETTING not in os.environ


@pytest.mark.parametrize("version", ["12.4", "11.8", None])
def test_an_older_cuda_keeps_the_library(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    monkeypatch.setattr(torch.version, "cuda", version)
    with let_go_of_cupti():
        assert SETTING not in os.environ


STEPS_OF_OURS = 12


def record(model: torch.nn.Module, images: torch.Tensor) -> int:
    """Events of the device in a window of one step."""
    window = Window([], images.device)
    window.warm_up()
    window.start()
    window.begin_step(0)
    model(images).sum().backward()
    window.end_step()
    torch.cuda.synchronize()
    window.close()
    events = window._results().events()
    return sum(event.device_type().name == "CUDA" for event in events)


def record_as_a_user(model: torch.nn.Module, images: torch.Tensor) -> int:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as theirs:
        model(images).sum().backward()
        torch.cuda.synchronize()
    events = theirs.profiler.kineto_results.events()
    return sum(event.device_type().name == "CUDA" for event in events)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")
def test_no_kernel_is_lost_where_recordings_follow_each_other_at_once() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).cuda()
    images = torch.randn(4, 3, 16, 16, device="cuda")
    for _ in range(3):
        model(images).sum().backward()
    ours = [record(model, images) for _ in range(STEPS_OF_OURS)]
    assert min(ours) > 5
    assert set(ours[1:]) == {ours[-1]}
    theirs = [record_as_a_user(model, images) for _ in range(4)]
    mixed = [(record(model, images), record_as_a_user(model, images)) for _ in range(4)]
    assert set(theirs) == {theirs[0]}
    assert set(mixed) == {(ours[-1], theirs[0])}
    assert SETTING not in os.environ


# What a process does once the third step, which is the window, is over; and how it ends.
ENDINGS = {
    "the training ends": ("", 0),
    "it is left": ("import sys; sys.exit(3)", 3),
    "it fails": ("raise RuntimeError('mine')", 1),
}


@pytest.mark.gpu
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_that_ends_right_after_a_window_ends(tmp_path: Path, ending: str) -> None:
    action, code = ENDINGS[ending]
    done = run(tmp_path, "on_train_batch_end", action)
    assert done.returncode == code, done.stderr
    (rows,) = tmp_path.rglob("layer_profile.csv")
    assert "Conv2d-2" in rows.read_text("utf-8")


@pytest.mark.gpu
def test_a_kernel_that_fails_in_the_window_is_the_users_own_error(tmp_path: Path) -> None:
    action = "torch.zeros(4, device='cuda')[torch.tensor([9], device='cuda')].tolist()"
    done = run(tmp_path, "on_train_batch_start", action)
    assert done.returncode == 1, done.stderr  # no crash when the process ends
    assert "device-side assert triggered" in done.stderr
    assert "lightning_profile" not in done.stderr.split("device-side assert triggered")[-1]


def run(folder: Path, hook: str, action: str) -> subprocess.CompletedProcess[str]:
    """A training of four steps whose last is recorded; ``action`` is done in that, or after it."""
    program = f"""
import torch
from pytorch_lightning import Callback, Trainer
from lightning_profile import LayerProfiler, Schedule
from tests.conftest import SmallCnn, small_data

class Act(Callback):
    def {hook}(self, *args):
        if args[-1] == 3:
            {action or "pass"}

Trainer(
    max_epochs=1, accelerator="gpu", devices=1, limit_train_batches=4, logger=False,
    default_root_dir={str(folder)!r}, enable_checkpointing=False, enable_progress_bar=False,
    callbacks=[LayerProfiler("Conv2d-2", Schedule(wait=3)), Act()],
).fit(SmallCnn(), small_data())
"""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
