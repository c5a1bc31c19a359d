"""Results as plain scalars, for whatever logger the training has."""

from __future__ import annotations

from dataclasses import fields

from lightning_profile.records import Footprint, WindowResult
from lightning_profile.report.columns import (
    RANK_STATISTICS,
    display_name,
    quantities,
    row_key,
    spread_value,
)

MEMORY = "memory"  # the group of a layer's footprint, beside its phases
_KEPT = [field.name for field in fields(Footprint)]


def scalars(result: WindowResult) -> dict[str, float]:
    """Tag to value, such as ``Conv2d-2/forward/counted_flop``; the unknown is left out.

    What was recorded in validation has ``validate`` in its tags; over several processes there
    are also ``…/min``, ``…/mean`` and ``…/max``.
    """
    values: dict[str, float | None] = {}
    for comparison in result.comparisons:
        phase = comparison.phase.value if comparison.phase is not None else ""
        prefix = _joined(result, display_name(comparison), phase)
        for name, value in quantities(comparison).items():
            values[f"{prefix}/{name}"] = value
        for name, spread in result.spreads.get(row_key(comparison), {}).items():
            for statistic in RANK_STATISTICS:
                values[f"{prefix}/{name}/{statistic}"] = spread_value(spread, statistic)
    for footprint in result.footprints:
        prefix = _joined(result, footprint.layer.display_name, MEMORY)
        for name in _KEPT:
            values[f"{prefix}/theoretical_{name}"] = getattr(footprint.theoretical, name)
            values[f"{prefix}/{name}"] = getattr(footprint.measured, name)
    return {tag: value for tag, value in values.items() if value is not None}


def _joined(result: WindowResult, layer: str, group: str) -> str:
    """How tags begin: the layer, the stage unless it is training, and the phase or ``memory``."""
    stage = "" if result.stage == "train" else result.stage
    return "/".join(part for part in (layer, stage, group) if part)
