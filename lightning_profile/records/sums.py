"""Sums of quantities that may be unknown."""

from __future__ import annotations

from collections.abc import Iterable


def sum_or_unknown(values: Iterable[int | None]) -> int | None:
    """The sum, ``None`` if a part is."""
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
