"""What becomes of the counts when Nsight Compute can't be had, refuses or gets stuck.

A stand-in for ncu plays the faults; the results of the real one are read in test_reading.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_profile.counters import HardwareCounters, tool
from lightning_profile.counters.nsight_compute import NsightCompute
from lightning_profile.records import (
    HardwareCount,
    Phase,
    Unavailable,
    UnavailableCause,
)
from tests.counters.captures import as_layer, capture_step, package_of

LISTING = "dram__bytes_read Counter byte bytes\\ngpu__time_duration Counter ns time"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    module = nn.Linear(4, 3)
    package_of(capture_step(folder, module, lambda: module(torch.ones(2, 4)).sum().backward()))
    return folder


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder on the path that a stand-in can be put into."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nothing"))
    monkeypatch.setattr(tool, "_TOOLKIT", str(tmp_path / "nothing"))
    monkeypatch.setattr(tool, "_INSTALLATIONS", str(tmp_path / "versions"))
    return folder


def _write(folder: Path, profile: str, query: str = f"print('{LISTING}')") -> Path:
    path = folder / "ncu"
    folder.mkdir(parents=True, exist_ok=True)
    body = f"if '--query-metrics' in sys.argv:\n    {query}\nelse:\n    {profile}\n"
    path.write_text(f"#!{sys.executable}\nimport subprocess, sys, time\n{body}", "utf-8")
    path.chmod(0o755)
    return path


def _count(packages: Path, time_limit_s: float = 60.0) -> Unavailable:
    parts = NsightCompute(time_limit_s).count(packages)
    assert {phase for _, phase in parts} == {Phase.FORWARD, Phase.BACKWARD}
    (reason,) = set(parts.values())
    assert isinstance(reason, Unavailable)
    return reason


def test_without_the_tool_it_says_where_it_looked(packages: Path, stand_in: Path) -> None:
    reason = _count(packages)
    assert reason.cause is UnavailableCause.NO_TOOL
    assert "/opt/nvidia/nsight-compute" in reason.text
    assert "install" in reason.remedy


def test_the_tool_is_found_where_it_is_installed(stand_in: Path, tmp_path: Path) -> None:
    environment = {"PATH": str(stand_in), "CUDA_HOME": str(tmp_path / "cuda")}
    assert tool.find_tool(environment) is None
    old = _write(tmp_path / "versions/2024.3.2", "pass")
    assert tool.find_tool(environment) == str(old)
    new = _write(tmp_path / "versions/2025.10.1", "pass")
    assert tool.find_tool(environment) == str(new)
    toolkit = _write(tmp_path / "cuda/bin", "pass")
    assert tool.find_tool(environment) == str(toolkit)
    on_path = _write(stand_in, "pass")
    assert tool.find_tool(environment) == str(on_path)


FORBIDDEN = (
    "ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance "
    "Counters on the target device 0."
)
TAKEN = (
    "Profiling failed because a driver resource was unavailable. Ensure that no other tool "
    "(like DCGM) is concurrently collecting profiling data."
)
MESSAGES = [
    (FORBIDDEN, UnavailableCause.FORBIDDEN, "NVreg_RestrictProfilingToAdminUsers=0"),
    (TAKEN, UnavailableCause.OTHER_PROFILER, "dcgmi"),
    (
        "Failed to find metric regex:^nonsense(.sum)$",
        UnavailableCause.UNKNOWN_METRIC,
        "version of Nsight Compute",
    ),
    ("Profiling is not supported on device 0.", UnavailableCause.UNSUPPORTED_DEVICE, "Volta"),
    ("Something that nobody foresaw", UnavailableCause.TOOL_FAILED, "Something that nobody"),
]


@pytest.mark.parametrize(("message", "cause", "says"), MESSAGES)
def test_what_the_tool_refuses_is_told_with_a_remedy(
    message: str, cause: UnavailableCause, says: str, packages: Path, stand_in: Path
) -> None:
    _write(stand_in, f"print('==PROF== Connected'); print('==ERROR== {message}'); sys.exit(1)")
    reason = _count(packages)
    assert reason.cause is cause
    assert says in reason.text
    assert reason.remedy


def test_a_refusal_of_the_query_is_told_as_well(packages: Path, stand_in: Path) -> None:
    _write(stand_in, "pass", query=f"print('==ERROR== {FORBIDDEN}'); sys.exit(1)")
    assert _count(packages).cause is UnavailableCause.FORBIDDEN
    _write(stand_in, "pass", query="sys.exit(2)")
    assert "exited with 2" in _count(packages).reason
    _write(stand_in, "pass", query="print('sm__cycles_active Counter')")
    assert _count(packages).cause is UnavailableCause.UNKNOWN_METRIC


def test_no_output_and_a_replay_that_ends_early_are_told(packages: Path, stand_in: Path) -> None:
    _write(stand_in, "pass")
    assert _count(packages).cause is UnavailableCause.NOT_REPLAYED
    assert "printed nothing" in _count(packages).reason
    _write(stand_in, "print('ModuleNotFoundError: x', file=sys.stderr); sys.exit(1)")
    assert "ModuleNotFoundError: x" in _count(packages).reason


REPLAY = "sys.exit(subprocess.call(sys.argv[sys.argv.index(sys.executable):]))"


def test_a_replay_that_did_not_reach_a_gpu_gives_no_numbers(packages: Path, stand_in: Path) -> None:
    _write(stand_in, REPLAY)  # the real one, on the CPU
    assert _count(packages).cause is UnavailableCause.UNSUPPORTED_DEVICE


@pytest.mark.parametrize("stuck", ["profile", "query"])
def test_a_stuck_tool_is_ended_after_its_time(stuck: str, packages: Path, stand_in: Path) -> None:
    sleep = (
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"
    )
    _write(
        stand_in,
        **({"profile": sleep} if stuck == "profile" else {"profile": "pass", "query": sleep}),
    )
    reason = _count(packages, time_limit_s=2.0)
    assert reason.cause is UnavailableCause.TIME_LIMIT
    assert "2 s" in reason.reason


def test_a_training_under_another_nsight_tool_is_left_alone(
    packages: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_INJECTION64_PATH", "/some/library.so")
    assert _count(packages).cause is UnavailableCause.OTHER_PROFILER


def test_the_child_profiles_nothing_itself_and_sees_the_same_devices() -> None:
    environment = {
        "CUDA_VISIBLE_DEVICES": "3,1",
        "NVTX_INJECTION64_PATH": "x",
        "KINETO_USE_DAEMON": "1",
        "NVIDIA_TF32_OVERRIDE": "0",
    }
    inherited = tool.tool_environment(environment)
    assert inherited.pop("PYTHONPATH")
    assert inherited == {"CUDA_VISIBLE_DEVICES": "3,1", "NVIDIA_TF32_OVERRIDE": "0"}


def test_on_a_cpu_every_layer_says_that_there_is_no_gpu() -> None:
    module = nn.Linear(4, 3)
    counters = HardwareCounters()
    capture = counters.capture([as_layer(module, "fc"), as_layer(nn.ReLU(), "idle")])
    capture.attach()
    module(torch.ones(2, 4)).sum().backward()
    counts = counters.count(capture.detach())
    counters.close()
    assert set(counts) == {("fc", Phase.FORWARD), ("fc", Phase.BACKWARD)}
    for reason in counts.values():
        assert isinstance(reason, Unavailable)
        assert reason.cause is UnavailableCause.UNSUPPORTED_DEVICE
    assert not any(isinstance(count, HardwareCount) for count in counts.values())
