"""When CUDA's tracing library is let go, and what is waited for."""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import os
import queue
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lightning_profile.measurement.cupti import CuptiRelease, _loaded_runtime, detaches_cupti

DEVICE = torch.device("cuda", 0)
SETTING = "TEARDOWN_CUPTI"


@pytest.fixture(autouse=True)
def no_setting_and_little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    monkeypatch.setattr("lightning_profile.measurement.cupti._PATIENCE_S", 0.05)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A recent CUDA; the calls into it, as there may be none here."""
    called: list[object] = []
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(
        "lightning_profile.measurement.cupti._loaded_runtime",
        {"12.6": types.SimpleNamespace(cudaGetDevice=called.append)}.get,
    )
    return called


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_profile.measurement.cupti._PATIENCE_S", 60)


@pytest.fixture
def stay() -> Iterator[threading.Event]:
    """What a foreign thread waits for; it ends with the test."""
    event = threading.Event()
    yield event
    event.set()


@contextlib.contextmanager
def let_go_of_cupti(device: torch.device) -> Iterator[None]:
    """As a window does that is closed and not read."""
    release = CuptiRelease(device)
    try:
        with release.as_recording_ends():
            yield
    finally:
        release.wait()


def start_foreign_thread(work: Callable[[], object]) -> Path:
    """A thread that Python's own list does not have; where Linux shows it while it lives."""
    began: queue.Queue[int] = queue.Queue()

    def run() -> None:
        began.put(threading.get_native_id())
        work()

    _thread.start_new_thread(run, ())
    return Path(f"/proc/self/task/{began.get(timeout=60)}")


@pytest.mark.usefixtures("patience")
def test_the_block_is_left_once_the_thread_that_began_in_it_has_ended(
    calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = threading.Event()

    def teardown() -> None:  # as kineto's, which ends at the first call into CUDA
        while len(calls) < 3 and not given_up.wait(0.001):
            pass

    with let_go_of_cupti(DEVICE):
        assert os.environ[SETTING] == "1"
        thread = start_foreign_thread(teardown)
    was_alive = thread.exists()
    given_up.set()
    assert not was_alive
    assert len(calls) >= 3
    assert SETTING not in os.environ


def wait_until(happens: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.usefixtures("patience")
def test_it_is_called_on_while_the_recording_is_read(
    calls: list[object], stay: threading.Event
) -> None:
    before = threading.active_count()
    release = CuptiRelease(DEVICE)
    with release.as_recording_ends():
        start_foreign_thread(stay.wait)
    assert threading.active_count() == before + 1
    wait_until(lambda: calls)  # nobody waits for it yet
    assert os.environ[SETTING] == "1"
    stay.set()
    wait_until(lambda: SETTING not in os.environ)
    release.wait()
    assert threading.active_count() == before
    known = len(calls)
    release.wait()
    assert len(calls) == known


def test_without_a_thread_of_its_own_it_is_waited_for_in_the_end(
    calls: list[object], monkeypatch: pytest.MonkeyPatch, stay: threading.Event
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    release = CuptiRelease(DEVICE)
    with release.as_recording_ends():
        start_foreign_thread(stay.wait)
    assert not calls
    release.wait()
    assert len(calls) > 1
    assert SETTING not in os.environ


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(
    ("where", "has_begun"), [("join", False), ("start", True), ("start", False)]
)
def test_an_interrupted_wait_goes_on_with_the_next(
    calls: list[object],
    monkeypatch: pytest.MonkeyPatch,
    stay: threading.Event,
    where: str,
    *,
    has_begun: bool,
) -> None:
    work = getattr(threading.Thread, where)

    def interrupt(thread: threading.Thread) -> None:
        if has_begun:
            work(thread)
        raise KeyboardInterrupt

    release = CuptiRelease(DEVICE)
    threads: list[Path] = []

    def record() -> None:
        with release.as_recording_ends():
            threads.append(start_foreign_thread(stay.wait))
        release.wait()

    with monkeypatch.context() as once:
        once.setattr(threading.Thread, where, interrupt)
        with pytest.raises(KeyboardInterrupt):
            record()
    (thread,) = threads
    assert thread.exists()
    assert os.environ[SETTING] == "1"
    stay.set()
    release.wait()
    assert not thread.exists()
    assert SETTING not in os.environ


def test_an_interrupt_before_kinetos_thread_is_known_costs_all_the_patience(
    calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    release = CuptiRelease(DEVICE)
    with (
        monkeypatch.context() as once,
        pytest.raises(KeyboardInterrupt),
        release.as_recording_ends(),
    ):
        once.setattr("lightning_profile.measurement.cupti._all_threads", interrupt)
    assert os.environ[SETTING] == "1"
    release.wait()
    assert len(calls) > 1
    assert SETTING not in os.environ


@pytest.mark.usefixtures("patience")
def test_threads_of_others_that_begin_later_are_not_waited_for(
    calls: list[object], stay: threading.Event
) -> None:
    release = CuptiRelease(DEVICE)
    with release.as_recording_ends():
        thread = start_foreign_thread(lambda: stay.wait(0.01))
    start_foreign_thread(stay.wait)
    wait_until(lambda: not thread.exists())
    waiting = threading.Thread(target=release.wait, daemon=True)
    waiting.start()
    waiting.join(timeout=30)
    assert not waiting.is_alive()


@pytest.mark.parametrize("opened", ["before", "after"])
def test_too_many_open_files_keep_the_library_or_cost_all_the_patience(
    calls: list[object], monkeypatch: pytest.MonkeyPatch, opened: str
) -> None:
    def fail(path: str) -> list[str]:
        raise OSError(24, "Too many open files")

    release = CuptiRelease(DEVICE)
    if opened == "before":
        monkeypatch.setattr(os, "listdir", fail)
    with release.as_recording_ends():
        monkeypatch.setattr(os, "listdir", fail)
        assert (SETTING in os.environ) == (opened == "after")
    release.wait()
    assert bool(calls) == (opened == "after")
    assert SETTING not in os.environ


def test_the_cpu_has_no_such_library(calls: list[object]) -> None:
    assert not detaches_cupti(torch.device("cpu"))
    with let_go_of_cupti(torch.device("cpu")):
        assert SETTING not in os.environ


def test_a_thread_that_stays_is_not_waited_for_without_end(
    calls: list[object], stay: threading.Event
) -> None:
    with let_go_of_cupti(DEVICE):
        thread = start_foreign_thread(stay.wait)
    assert thread.exists()
    assert len(calls) > 1
    assert SETTING not in os.environ


def test_threads_of_python_are_not_waited_for(calls: list[object], stay: threading.Event) -> None:
    with let_go_of_cupti(DEVICE):
        threading.Thread(target=stay.wait, daemon=True).start()
    assert not calls


def test_threads_that_were_there_are_not_waited_for(calls: list[object]) -> None:
    assert detaches_cupti(DEVICE)
    with let_go_of_cupti(DEVICE):
        pass
    assert not calls


@pytest.mark.parametrize(("value", "is_waited_for"), [("0", False), ("1", True), ("", False)])
def test_the_users_own_setting_holds(
    calls: list[object],
    monkeypatch: pytest.MonkeyPatch,
    stay: threading.Event,
    value: str,
    is_waited_for: bool,
) -> None:
    monkeypatch.setenv(SETTING, value)
    with let_go_of_cupti(DEVICE):
        assert os.environ[SETTING] == value
        start_foreign_thread(stay.wait)
    assert os.environ[SETTING] == value
    assert bool(calls) == is_waited_for == detaches_cupti(DEVICE)


def test_an_exception_in_the_block_leaves_no_setting(calls: list[object]) -> None:
    with pytest.raises(RuntimeError, match="mine"), let_go_of_cupti(DEVICE):
        raise RuntimeError("mine")
    assert SETTING not in os.environ


def test_nothing_is_let_go_beside_torchs_own_monitor(
    calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.profiler._cupti.monitor", types.ModuleType("monitor"))
    assert not detaches_cupti(DEVICE)
    with let_go_of_cupti(DEVICE):
        assert SETTING not in os.environ


@pytest.mark.parametrize("version", ["12.4", "11.8", None])
def test_an_older_cuda_keeps_the_library(
    calls: list[object], monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    monkeypatch.setattr(torch.version, "cuda", version)
    assert not detaches_cupti(DEVICE)
    with let_go_of_cupti(DEVICE):
        assert SETTING not in os.environ


def test_without_a_runtime_of_its_own_name_the_library_is_kept(
    calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.9")  # the fixture has none of this version
    with let_go_of_cupti(DEVICE):
        assert SETTING not in os.environ


def test_no_other_runtime_is_loaded_than_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def refuse(name: str, mode: int) -> None:
        asked.append((name, mode))
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert _loaded_runtime("12.9") is None
    ((name, mode),) = asked
    assert name == "libcudart.so.12"
    assert mode & os.RTLD_NOLOAD
