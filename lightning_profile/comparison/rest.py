"""The rows that belong to no layer: the optimizer, and the rest of the step."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_profile.comparison.notes import count_note, device_note, optimizer_note
from lightning_profile.comparison.summary import summarise
from lightning_profile.records import Comparison, Measurement


def compare_rest(rows: Sequence[Measurement]) -> Comparison:
    """One row for several steps of the optimizer, or of the rest of the step."""
    measured = summarise(rows)
    notes = (count_note(measured), optimizer_note(measured), device_note(measured, ()))
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
