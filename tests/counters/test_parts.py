"""Kernels of the tool's table go to the parts of the replay that launched them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from lightning_profile.counters.nsight_compute import NsightCompute
from lightning_profile.counters.outcomes import (
    FILE_NAME,
    MARKER,
    Outcome,
    read_outcomes,
    write_outcome,
)
from lightning_profile.counters.processes import Finished
from lightning_profile.counters.reading import UnreadableOutputError
from lightning_profile.records import Phase, Unavailable, UnavailableCause
from tests.counters.outputs import PRODUCT_FLOP, h100_metrics, printed


def _with_markers(*names: str) -> Finished:
    """Real rows of several runs in one table, each run after a row of a marker."""
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL)
    for position, name in enumerate(names):
        lines = printed(name).splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith('"ID"'))
        header, units, *rows = list(csv.reader(lines[start:]))
        if position == 0:
            writer.writerows([header, units])
        marker = list(rows[0])
        marker[header.index("Kernel Name")] = f"at::cuda::<unnamed>::{MARKER}(long)"
        writer.writerows([marker, *rows])
    return Finished(exit_code=0, output=table.getvalue(), errors="")


def _outcome(
    package: str, phase: Phase, *, is_marked: bool, cause: UnavailableCause | None = None
) -> Outcome:
    return Outcome(package=package, phase=phase, is_marked=is_marked, cause=cause, error="why")


OUTCOMES = [
    _outcome("0.pt", Phase.FORWARD, is_marked=True),
    _outcome("0.pt", Phase.BACKWARD, is_marked=True),
    _outcome("1.pt", Phase.FORWARD, is_marked=False, cause=UnavailableCause.NOT_REPLAYED),
    _outcome("1.pt", Phase.BACKWARD, is_marked=False, cause=UnavailableCause.OUT_OF_MEMORY),
    _outcome("2.pt", Phase.FORWARD, is_marked=True, cause=UnavailableCause.NOT_REPLAYED),
    _outcome("3.pt", Phase.FORWARD, is_marked=True),
    _outcome("3.pt", Phase.BACKWARD, is_marked=False, cause=UnavailableCause.NO_BACKWARD),
    _outcome("4.pt", Phase.FORWARD, is_marked=False, cause=UnavailableCause.TIME_LIMIT),
]
TABLES = ("bf16_forward", "bf16_backward", "fp16_backward", "bf16_forward")


def test_each_part_gets_the_kernels_after_its_marker() -> None:
    finished = _with_markers(*TABLES)
    parts = NsightCompute(9.0)._assign(OUTCOMES, finished, h100_metrics())
    found = {
        (package, phase.value): part.cause.value
        if isinstance(part, Unavailable)
        else sum(kernel.product_flop or 0 for kernel in part)
        for (package, phase), part in parts.items()
    }
    assert found == {
        ("0.pt", "forward"): PRODUCT_FLOP,
        ("0.pt", "backward"): 6_417_285_120 + 6_039_797_760,
        ("1.pt", "forward"): "not_replayed",
        ("1.pt", "backward"): "out_of_memory",
        ("2.pt", "forward"): "not_replayed",  # raised after its marker: its kernels are no part
        ("3.pt", "forward"): PRODUCT_FLOP,
        ("3.pt", "backward"): "no_backward",
        ("4.pt", "forward"): "time_limit",
    }


def test_a_table_with_too_few_parts_gives_no_numbers() -> None:
    with pytest.raises(UnreadableOutputError, match="3 of 4 parts"):
        NsightCompute(9.0)._assign(OUTCOMES, _with_markers(*TABLES[:3]), h100_metrics())


def test_outcomes_come_back_from_their_file(tmp_path: Path) -> None:
    assert list(read_outcomes(tmp_path)) == []
    with (tmp_path / FILE_NAME).open("w", encoding="utf-8") as file:
        for outcome in OUTCOMES:
            write_outcome(file, outcome)
    assert list(read_outcomes(tmp_path)) == OUTCOMES
