"""A point's rows are those of its run's files, on steps recorded on real devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lightning_profile.attribution import step_peaks
from lightning_profile.report.json_lines import JsonLinesFile
from lightning_profile.report.run_folder import RunFolder
from lightning_profile.schedule import Schedule
from lightning_profile.study.point import Row
from lightning_profile.study.window import peaks_of_step, read_window, rows
from tests.report.results import result
from tests.test_recorded import Analysed, analysed

__all__ = ["analysed"]  # a fixture


@pytest.fixture
def window(analysed: Analysed, tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run's line and the window's, of a file as a training writes it."""
    recording, device_type = analysed.recording, analysed.recorded.device_type
    made = result(
        *analysed.comparisons,
        measurements=tuple(analysed.measurements),
        steps=tuple(recording.steps),
        batch_sizes=dict.fromkeys(recording.steps, 8),
        step_peak_bytes=step_peaks(recording.ops, device_type),
    )
    folder = RunFolder(tmp_path, "version_0")
    JsonLinesFile(folder, analysed.layers, Schedule()).write(made)
    assert folder.path is not None
    return read_window(folder.path)


def of_layers(window: tuple[dict[str, Any], dict[str, Any]]) -> list[Row]:
    return [row for row in rows(*window, {}) if row.layer_type is not None]


def test_a_rows_algorithms_are_the_kernels_that_were_recorded_or_else_the_operators(
    analysed: Analysed, window: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    recorded = {
        (each.layer, each.phase.value): each
        for each in analysed.measurements
        if each.layer is not None and each.phase is not None
    }
    for row in of_layers(window):
        measured = recorded[row.qualified_name, row.phase]
        if analysed.recorded.device_type == "cpu":
            assert all(name.startswith("aten::") for name in row.algorithms)
            assert set(row.algorithms) <= {each.name for each in measured.operators}
        else:
            assert measured.on_device is not None
            kernels = {each.name: each for each in measured.on_device.kernels}
            times = [kernels[name].device_time_ns for name in row.algorithms]
            assert times == sorted(times, reverse=True)
            around = {kernels[name].kind for name in kernels if name not in row.algorithms}
            assert around <= {"elementwise or bias", "memset or copy", "communication"}
        if row.layer_type in ("Conv2d", "Linear"):
            assert row.algorithms


def test_a_rows_workspace_is_that_of_its_operators(
    window: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    tables = {(each["layer"], each["phase"]) for each in window[1]["memory"]}
    assert tables
    for row in of_layers(window):
        if (row.qualified_name, row.phase) in tables:
            assert sum(row.temporary_bytes.values()) == row.values["workspace_bytes"]


def test_a_row_says_what_layer_it_is(
    analysed: Analysed, window: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    shown = {
        layer.qualified_name: repr(layer.module)
        for layer in analysed.layers
        if not isinstance(layer.module, nn.Sequential)  # without operators of its own, thus a row
    }
    assert {row.qualified_name: row.geometry for row in of_layers(window)} == shown


def test_the_steps_peak_is_at_least_that_of_any_row(
    window: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    peak = peaks_of_step(window[1])["peak_tensor_bytes"]
    assert peak >= max(row.values["peak_allocated_bytes"] for row in rows(*window, {}))
