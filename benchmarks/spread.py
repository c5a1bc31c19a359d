"""How measured values spread."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence


def spread(values: Sequence[float]) -> dict[str, float]:
    """The quartiles of ``values``."""
    if len(values) < 2:
        return dict.fromkeys(("low", "median", "high"), values[0] if values else 0.0)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"low": low, "median": median, "high": high}


def describe(quartiles: Mapping[str, float], digits: int = 3) -> str:
    """In one line."""
    low, median, high = (f"{quartiles[name]:.{digits}f}" for name in ("low", "median", "high"))
    return f"{median} (quartiles {low} to {high})"
