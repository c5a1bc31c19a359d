"""Measured ceilings are kept, and whatever is wrong with the cache costs a measurement at most."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_profile.devices import cache, measured_ceilings
from lightning_profile.devices.stopwatch import CpuStopwatch
from lightning_profile.records import ARITHMETIC_KINDS, Ceilings

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; rates don't matter, so nothing is repeated."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "_in_process", {})
    monkeypatch.setattr(CpuStopwatch, "patience_s", 0.0)
    monkeypatch.setattr(CpuStopwatch, "long_enough_s", 0.0)
    return tmp_path / "lightning_profile"


def forget() -> None:
    """As in a new process."""
    cache._in_process.clear()


def the_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_a_process_measures_once(folder: Path) -> None:
    assert measured_ceilings(CPU) is measured_ceilings(CPU)


def test_the_next_process_reads_what_was_measured(folder: Path) -> None:
    first = measured_ceilings(CPU)
    forget()
    # Two measurements never agree to the last digit.
    assert measured_ceilings(CPU) == first
    assert first.flop_per_s["tf32"] is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", "\x00", "[" * 100_000, '{"key": 1, "ceilings": {}}'],
    ids=["empty", "torn", "list", "null", "no key", "binary", "deep", "other"],
)
def test_a_corrupt_file_is_measured_again_and_replaced(folder: Path, text: str) -> None:
    measured_ceilings(CPU)
    path = the_file(folder)
    path.write_text(text, encoding="utf-8")
    forget()
    again = measured_ceilings(CPU)
    assert again.bytes_per_s is not None
    forget()
    assert measured_ceilings(CPU) == again


@pytest.mark.parametrize("value", [-1.0, 0, float("nan"), float("inf"), "much", [], {}])
def test_a_rate_that_is_none_is_measured_again(folder: Path, value: Any) -> None:
    measured_ceilings(CPU)
    path = the_file(folder)
    document = json.loads(path.read_text("utf-8"))
    document["ceilings"]["flop_per_s"]["fp32"] = value
    path.write_text(json.dumps(document), encoding="utf-8")
    forget()
    fp32 = measured_ceilings(CPU).flop_per_s["fp32"]
    assert fp32 is not None
    assert 0 < fp32 < 1e18


def test_a_file_that_is_no_text_is_measured_again(folder: Path) -> None:
    measured_ceilings(CPU)
    the_file(folder).write_bytes(b"\xff\xfe\x00\xd8")
    forget()
    assert measured_ceilings(CPU).bytes_per_s is not None


def _another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "0.0.1")


def _another_thread_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)


def _another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")


@pytest.mark.parametrize("change", [_another_torch, _another_thread_count, _another_processor])
def test_what_another_machine_or_torch_measured_is_not_used(
    folder: Path, change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measured_ceilings(CPU)
    change(monkeypatch)
    second = measured_ceilings(CPU)
    assert second != first
    assert len(list(folder.iterdir())) == 2


def test_a_file_under_the_name_of_another_is_not_used(folder: Path) -> None:
    first = measured_ceilings(CPU)
    path = the_file(folder)
    document = json.loads(path.read_text("utf-8"))
    document["key"]["threads"] += 1
    path.write_text(json.dumps(document), encoding="utf-8")
    forget()
    assert measured_ceilings(CPU) != first


def test_a_cache_that_cannot_be_written_is_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obstacle = folder.parent / "file"
    obstacle.write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(obstacle))
    assert measured_ceilings(CPU).bytes_per_s is not None


def test_no_home_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert measured_ceilings(CPU).bytes_per_s is not None


def test_a_relative_cache_folder_is_ignored(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    measured_ceilings(CPU)
    assert not (tmp_path / "relative").exists()
    assert len(list((tmp_path / "home").rglob("ceilings-*.json"))) == 1


def test_a_device_without_free_memory_is_asked_again_by_the_next_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as little:
        little.setattr("lightning_profile.devices.stopwatch._host_memory_bytes", lambda: 2**20)
        assert measured_ceilings(CPU).bytes_per_s is None
    forget()
    assert measured_ceilings(CPU).bytes_per_s is not None


def test_a_reader_never_sees_half_of_a_file(folder: Path) -> None:
    one = Ceilings(
        flop_per_s=dict.fromkeys(ARITHMETIC_KINDS, 1.0), bytes_per_s=1.0, source="x" * 100_000
    )
    other = replace(one, bytes_per_s=2.0, source="y" * 100_000)
    path, key = folder / "ceilings-0.json", cache._key(CPU)
    cache._write(path, key, one)

    def write() -> None:
        for number in range(100):
            cache._write(path, key, (one, other)[number % 2])

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert cache._read(path, key) in (one, other)
    assert the_file(folder) == path  # and nothing half-written is left beside it


def test_ceilings_that_were_none_are_measured_anew(folder: Path) -> None:
    first = measured_ceilings(CPU)
    cache.forget_ceilings(CPU)
    assert not list(folder.iterdir())
    cache.forget_ceilings(CPU)  # there is nothing to forget
    assert measured_ceilings(CPU) is not first
    assert the_file(folder).exists()
