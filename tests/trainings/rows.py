"""A real training under the callback, and its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_profile import LayerProfiler, Schedule
from tests.conftest import read_csv, train

SCHEDULE = Schedule(wait=1, warmup=1, active=2)

Rows = dict[tuple[str, str], dict[str, str]]


def profile(
    folder: Path,
    layers: Any,
    *callbacks: Any,
    schedule: Schedule = SCHEDULE,
    stages: Any = "train",
    **options: Any,
) -> Rows:
    """Rows of the last epoch by qualified name and phase."""
    train(folder, *callbacks, LayerProfiler(layers, schedule, stages), **options)
    return {(row["qualified_name"], row["phase"]): row for row in read_csv(folder)}


def flop(rows: Rows, name: str) -> dict[str, tuple[str, str]]:
    """Theoretical and counted FLOPs of a layer by phase."""
    return {
        phase: (row["theoretical_flop"], row["counted_flop"])
        for (layer, phase), row in rows.items()
        if layer == name
    }


def both(value: int) -> tuple[str, str]:
    """Theory and count agree on ``value``."""
    return str(value), str(value)
