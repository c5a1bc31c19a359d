"""What all tensors of a step held at one moment."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_profile.attribution import step_peaks
from tests.recording import record

MIB = 2**20


def mebibytes(count: int) -> Tensor:
    return torch.empty(count * MIB, dtype=torch.uint8)


def test_a_steps_peak_is_that_of_the_blocks_that_lived_at_once() -> None:
    def step() -> None:
        first = mebibytes(4)
        second = mebibytes(2)  # beside the first
        del first
        third = mebibytes(3)  # no more than 5 now
        del second, third

    _, recording = record(nn.Linear(1, 1), None, step, steps=2)
    assert step_peaks(recording.ops, "cpu") == {0: 6 * MIB, 1: 6 * MIB}
    assert step_peaks(recording.ops, "cuda") == {}


def test_what_was_there_before_the_step_is_not_in_its_peak() -> None:
    kept: list[Tensor] = []

    def step() -> None:
        kept.clear()  # the step's before: freeing it makes no room for this one's
        kept.append(mebibytes(1))

    _, recording = record(nn.Linear(1, 1), None, step, steps=2)
    assert step_peaks(recording.ops, "cpu") == {0: MIB, 1: MIB}
