"""The replay, run for real as a program of its own; on a CPU there is nothing to switch on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_profile.counters.outcomes import Outcome, read_outcomes
from lightning_profile.counters.replay import replay_package
from lightning_profile.counters.tool import profile_command, tool_environment
from lightning_profile.records import Phase, UnavailableCause
from tests.counters.captures import capture_step, package_of


class Chatty(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        print("a line on stdout")
        return super().forward(inputs)


class OnceOnly(nn.Linear):
    """Can't be called in another process."""

    def forward(self, inputs: Tensor) -> Tensor:
        if os.environ.get("REPLAYING"):
            raise ValueError("not here")
        return super().forward(inputs)


def _capture(folder: Path, module: nn.Module) -> Path:
    step = lambda: module(torch.ones(2, 4)).sum().backward()  # noqa: E731
    return package_of(capture_step(folder, module, step))


def _replay(folder: Path, deadline: float) -> tuple[list[Outcome], str]:
    command = profile_command("ncu", ["x"], folder, deadline)
    done = subprocess.run(
        command[command.index(sys.executable) :],
        env=tool_environment(os.environ) | {"REPLAYING": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(read_outcomes(folder)), done.stdout


def test_every_package_is_replayed_whatever_becomes_of_the_others(tmp_path: Path) -> None:
    first = _capture(tmp_path, Chatty(4, 3)).name
    second = _capture(tmp_path, OnceOnly(4, 3)).name
    module = nn.Linear(4, 3)
    third = package_of(capture_step(tmp_path, module, lambda: module(torch.ones(2, 4)))).name
    outcomes, printed = _replay(tmp_path, time.time() + 60.0)
    assert printed == ""  # the tool's table has stdout for itself
    found = {(each.package, each.phase): each.cause for each in outcomes}
    assert found == {
        (first, Phase.FORWARD): None,
        (first, Phase.BACKWARD): None,
        (second, Phase.FORWARD): UnavailableCause.NOT_REPLAYED,
        (second, Phase.BACKWARD): UnavailableCause.NOT_REPLAYED,
        (third, Phase.FORWARD): None,
        (third, Phase.BACKWARD): UnavailableCause.NO_BACKWARD,
    }
    assert {each.error for each in outcomes if each.package == second} == {"ValueError: not here"}
    assert not any(each.is_marked for each in outcomes)


def test_after_its_time_nothing_is_begun(tmp_path: Path) -> None:
    path = _capture(tmp_path, nn.Linear(4, 3))
    outcomes = list(replay_package(path, time.time() - 1.0))
    assert [each.cause for each in outcomes] == [UnavailableCause.TIME_LIMIT] * 2
    assert not any(each.is_marked for each in outcomes)


class Greedy(nn.Linear):
    """Asks for more memory than there is, once it is loaded again."""

    is_loaded = False

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)
        self.is_loaded = True

    def forward(self, inputs: Tensor) -> Tensor:
        if self.is_loaded:
            raise torch.OutOfMemoryError("no room")
        return super().forward(inputs)


def test_a_lack_of_memory_is_told_apart(tmp_path: Path) -> None:
    path = _capture(tmp_path, Greedy(4, 3))
    outcomes = list(replay_package(path, time.time() + 60.0))
    assert [each.cause for each in outcomes] == [UnavailableCause.OUT_OF_MEMORY] * 2


def test_a_file_that_is_no_package_is_a_failure_of_its_own(tmp_path: Path) -> None:
    torch.save({"no": "package"}, tmp_path / "0000.pt")
    outcomes = list(replay_package(tmp_path / "0000.pt", time.time() + 60.0))
    assert [each.cause for each in outcomes] == [UnavailableCause.NOT_REPLAYED] * 2
    assert "no replay package" in outcomes[0].error
