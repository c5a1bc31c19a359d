"""The rows that belong to no layer: the optimizer, and the rest of the step."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_profile.comparison.notes import (
    SOME_STEPS,
    count_note,
    device_note,
    optimizer_note,
)
from lightning_profile.comparison.summary import summarise
from lightning_profile.records import Comparison, Measurement, Phase


def compare_rest(measurements: Sequence[Measurement], steps: int) -> list[Comparison]:
    """One row for the steps of the optimizer, and one for the rest of all steps.

    Args:
        measurements: Of all layers and of none, in the steps to summarise.
        steps: How many these are.
    """
    of_none = [row for row in measurements if row.layer is None]
    optimizer = [row for row in of_none if row.is_optimizer]
    rest = [row for row in of_none if not row.is_optimizer]
    has_backward = any(row.phase is Phase.BACKWARD for row in measurements)
    is_hidden = any(row.hides_optimizer for row in rest)
    return [
        _compare(rows, steps, lacks_optimizer=has_backward and not optimizer and not is_hidden)
        for rows in (optimizer, rest)
        if rows
    ]


def _compare(rows: Sequence[Measurement], steps: int, *, lacks_optimizer: bool) -> Comparison:
    measured = summarise(rows)
    notes = (
        SOME_STEPS.format(len(rows), steps) if len(rows) < steps else "",
        count_note(measured),
        optimizer_note(measured, lacks_optimizer=lacks_optimizer),
        device_note(measured, ()),
    )
    return Comparison(
        layer=None,
        phase=None,
        is_optimizer=measured.is_optimizer,
        steps=len(rows),
        calls=0,
        dtype=None,
        cost=None,
        measured=measured,
        note="; ".join(note for note in notes if note),
    )
