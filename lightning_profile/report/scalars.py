"""Results as plain scalars, for whatever logger the training has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from lightning_profile.records import Footprint, Layer, Phase, WindowResult
from lightning_profile.report.columns import (
    RANK_STATISTICS,
    display_name,
    quantities,
    row_key,
    spread_value,
)

PHASES = (Phase.FORWARD, Phase.BACKWARD)
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


def chart_layout(
    layers: Sequence[Layer], *, has_hardware: bool = False
) -> dict[str, dict[str, tuple[str, Sequence[str]]]]:
    """Layout for ``add_custom_scalars``: theory and measurement as lines of one chart.

    Args:
        layers: The reported ones.
        has_hardware: Whether there are counts of the hardware to be shown beside the others.

    Returns:
        Layer to chart title to ``("Multiline", tags)``; the tags are regular expressions.
    """
    flop_lines = ["theoretical_flop", "counted_flop", *(["hardware_flop"] if has_hardware else [])]
    return {layer.display_name: _charts(layer.display_name, flop_lines) for layer in layers}


def _charts(layer: str, flop_lines: Sequence[str]) -> dict[str, tuple[str, Sequence[str]]]:
    charts: dict[str, tuple[str, Sequence[str]]] = {}
    for phase in PHASES:
        prefix = f"{layer}/{phase.value}"
        charts |= {
            f"{phase.value}: FLOPs per step": _lines(prefix, *flop_lines),
            f"{phase.value}: bytes allocated per step": _lines(
                prefix, "theoretical_allocated_bytes", "allocated_bytes", "peak_allocated_bytes"
            ),
            f"{phase.value}: time per step in ns": _lines(
                prefix,
                "roofline_time_ns",
                "empirical_roofline_time_ns",
                "cpu_time_ns",
                "device_time_ns",
            ),
        }
    charts["both: FLOP/s achieved"] = _lines(layer, "forward/flop_per_s", "backward/flop_per_s")
    charts["both: measured or counted over theoretical"] = _lines(
        layer,
        *(
            f"{phase.value}/{ratio}"
            for phase in PHASES
            for ratio in ("flop_ratio", "allocated_ratio")
        ),
    )
    charts["both: bytes kept in memory"] = _lines(
        f"{layer}/{MEMORY}",
        "theoretical_parameter_bytes",
        "parameter_bytes",
        "theoretical_gradient_bytes",
        "gradient_bytes",
        "theoretical_optimizer_state_bytes",
        "optimizer_state_bytes",
        "theoretical_activation_bytes",
        "activation_bytes",
    )
    return charts


def _lines(prefix: str, *names: str) -> tuple[str, Sequence[str]]:
    # TensorBoard matches from the start only, so the end is marked too.
    return "Multiline", [f"{prefix}/{name}$" for name in names]
