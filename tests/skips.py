"""On CI what can run must run: what skips there fails, unless the machine lacks a device."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

# What no installation can change.
HARDWARE = {
    "has no tf32",
    "needs an NVIDIA GPU",
    "needs two GPUs",
    "not in the table of cards",
}
_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _without_excuse((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _without_excuse((yield))


def _without_excuse(report: _Report) -> _Report:
    if os.environ.get("CI") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason not in HARDWARE:
            report.outcome = "failed"
            report.longrepr = f"nothing that could run may skip on CI: {reason}"
    return report
