"""CUDA's tracing library is let go after a window: nothing is lost, and nobody is disturbed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.measurement import Window, cupti
from lightning_profile.measurement.cupti import _all_threads, _loaded_runtime, detaches_cupti
from tests.conftest import read_csv, small_data, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Warning. Profiler clears events"),
]

REPOSITORY = Path(__file__).parents[2]
SETTING = "TEARDOWN_CUPTI"
WINDOWS = 12


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


def test_no_kernel_is_lost_where_recordings_follow_each_other_at_once() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).cuda()
    images = torch.randn(4, 3, 16, 16, device="cuda")
    for _ in range(3):
        model(images).sum().backward()
    ours = [record(model, images) for _ in range(WINDOWS)]
    assert min(ours) > 5
    assert set(ours[1:]) == {ours[-1]}
    theirs = [record_as_a_user(model, images) for _ in range(4)]
    mixed = [(record(model, images), record_as_a_user(model, images)) for _ in range(4)]
    assert set(theirs) == {theirs[0]}
    assert set(mixed) == {(ours[-1], theirs[0])}
    assert SETTING not in os.environ


def test_what_a_window_keeps_of_the_device_is_what_is_said() -> None:
    model, images = torch.nn.Linear(8, 8).cuda(), torch.randn(4, 8, device="cuda")
    for _ in range(3):
        record(model, images)
    before, _ = torch.cuda.mem_get_info()
    for _ in range(2 * WINDOWS):
        record(model, images)
    after, _ = torch.cuda.mem_get_info()
    assert detaches_cupti(images.device)
    # CUDA hands out whole pages of 2 MiB: 0.6 MiB each, and a page more or less.
    assert abs((before - after) - 2 * WINDOWS * 573 * 1024) <= 2 * 2**20


def test_kinetos_thread_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    runtime = _loaded_runtime(torch.version.cuda or "")
    assert runtime is not None
    ask = runtime.cudaGetDevice

    def noted(device: object) -> int:
        calls.append(device)
        return int(ask(device))

    monkeypatch.setattr(
        cupti, "_loaded_runtime", lambda version: types.SimpleNamespace(cudaGetDevice=noted)
    )
    model = torch.nn.Linear(8, 8).cuda()
    images = torch.randn(4, 8, device="cuda")
    for _ in range(3):
        calls.clear()
        before = _all_threads()
        record(model, images)
        assert calls  # there was one
        end = time.monotonic() + 5
        # What has ended may still be listed; kineto's would stay, as nothing calls CUDA here.
        while _all_threads() - before and time.monotonic() < end:
            time.sleep(0.001)
        assert not _all_threads() - before  # others, which were there, may have ended


def test_threads_that_call_cuda_meanwhile_go_on() -> None:
    model = torch.nn.Linear(8, 8).cuda()
    images = torch.randn(4, 8, device="cuda")
    stop = threading.Event()
    rounds = [0, 0, 0]

    def work(number: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            while not stop.is_set():
                torch.randn(1000).pin_memory().cuda(non_blocking=True).sum().item()
                rounds[number] += 1

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        kernels = [record(model, images) for _ in range(200)]
        done = list(rounds)
        record(model, images)
    finally:
        stop.set()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert min(kernels) > 0
    assert all(now > then for now, then in zip(rounds, done, strict=True))


def test_a_training_with_a_loaders_threads_goes_on(tmp_path: Path) -> None:
    data = DataLoader(
        small_data().dataset, batch_size=8, num_workers=2, pin_memory=True, persistent_workers=True
    )
    profiler = LayerProfiler("Conv2d-2", Schedule(wait=1))
    train(tmp_path, profiler, data=data, max_epochs=100, accelerator="gpu", devices=1)
    rows = read_csv(tmp_path)
    assert {row["epoch"] for row in rows} == {str(epoch) for epoch in range(100)}
    assert all(int(row["device_time_ns"]) > 0 for row in rows)


def test_a_process_that_ends_without_another_call_into_cuda_ends() -> None:
    program = """
import torch
from lightning_profile.measurement import Window

torch.ones(4, device="cuda").sum().item()
window = Window([], torch.device("cuda", 0))
window.warm_up()
torch.ones(4, device="cuda").sum().item()
window.close()
"""
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, timeout=120, check=True)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_window_on_the_second_gpu_leaves_the_first_alone() -> None:
    program = """
import torch
from lightning_profile.measurement import Window

device = torch.device("cuda", 1)
torch.cuda.set_device(device)
torch.ones(4, device=device).sum().item()
window = Window([], device)
window.warm_up()
window.start()
window.begin_step(0)
torch.ones(4, device=device).sum().item()
window.end_step()
assert any(op.launched for op in window.finish().ops)
assert [torch._C._cuda_hasPrimaryContext(number) for number in (0, 1)] == [False, True]
"""
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, timeout=120, check=True)


# What a process does once the fourth step, which is the window, is over; and how it ends.
ENDINGS = {
    "the training ends": ("", 0),
    "it is left": ("import sys; sys.exit(3)", 3),
    "it fails": ("raise RuntimeError('mine')", 1),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_that_ends_right_after_a_window_ends(tmp_path: Path, ending: str) -> None:
    action, code = ENDINGS[ending]
    done = run(tmp_path, "on_train_batch_end", action)
    assert done.returncode == code, done.stderr
    (rows,) = tmp_path.rglob("layer_profile.csv")
    assert "Conv2d-2" in rows.read_text("utf-8")


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
