"""TensorBoard's Custom Scalars: theory beside count and measurement in one chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning_profile.records import Layer, Phase, WindowResult
from lightning_profile.report.columns import row_key
from lightning_profile.report.scalars import MEMORY

Chart = tuple[str, Sequence[str]]  # its kind, and tags
_PHASES = (Phase.FORWARD, Phase.RECOMPUTE, Phase.BACKWARD)
_ALWAYS = (Phase.FORWARD, Phase.BACKWARD)
_OVER_RANKS = (  # of these the first that is known
    ("time", ("device_time_ns", "cpu_time_ns")),
    ("peak of allocated bytes", ("peak_allocated_bytes",)),
)


def chart_layout(layers: Sequence[Layer], result: WindowResult) -> dict[str, dict[str, Chart]]:
    """Layout for ``add_custom_scalars``; TensorBoard reads the first that a run has.

    Args:
        layers: The reported ones.
        result: A window, for what there is beside theory and count.

    Returns:
        Layer to chart title to ``("Multiline", tags)``, whose tags are regular expressions, or
        ``("Margin", [value, lower, upper])`` of exact tags.
    """
    has_hardware = any(each.hardware is not None for each in result.comparisons)
    flop_lines = ["theoretical_flop", "counted_flop", *(["hardware_flop"] if has_hardware else [])]
    return {layer.display_name: _charts(layer, flop_lines, result) for layer in layers}


def _charts(layer: Layer, flop_lines: Sequence[str], result: WindowResult) -> dict[str, Chart]:
    name = layer.display_name
    ran = {each.phase for each in result.comparisons if _is_of(each.layer, layer)}
    phases = [phase for phase in _PHASES if phase in ran or phase in _ALWAYS]
    charts: dict[str, Chart] = {}
    for phase in phases:
        prefix = f"{name}/{phase.value}"
        charts |= {
            f"{phase.value}: FLOPs per step (one line where all agree)": _lines(prefix, flop_lines),
            f"{phase.value}: bytes allocated per step": _lines(
                prefix, ("theoretical_allocated_bytes", "allocated_bytes", "peak_allocated_bytes")
            ),
            f"{phase.value}: time per step in ns": _lines(
                prefix,
                (
                    "roofline_time_ns",
                    "empirical_roofline_time_ns",
                    "cpu_time_ns",
                    "device_time_ns",
                ),
            ),
            **_bands(layer, phase, result),
        }
    for title, quantities in (
        ("FLOP/s achieved", ("flop_per_s",)),
        ("counted over theoretical FLOPs (1: they agree)", ("flop_ratio",)),
        ("measured over theoretical bytes (1: they agree)", ("allocated_ratio",)),
        ("fraction of the roofline (1: as fast as can be)", ("roofline_fraction",)),
    ):
        charts[f"all phases: {title}"] = _lines(
            name, [f"{phase.value}/{quantity}" for phase in phases for quantity in quantities]
        )
    charts["bytes kept in memory"] = _lines(
        f"{name}/{MEMORY}",
        [
            f"{origin}{kind}_bytes"
            for kind in ("parameter", "gradient", "optimizer_state", "activation")
            for origin in ("theoretical_", "")
        ],
    )
    return charts


def _is_of(other: Layer | None, layer: Layer) -> bool:
    return other is not None and other.qualified_name == layer.qualified_name


def _bands(layer: Layer, phase: Phase, result: WindowResult) -> dict[str, Chart]:
    """The processes' mean between the least and the greatest; nothing in one process."""
    spreads = next(
        (
            result.spreads.get(row_key(each), {})
            for each in result.comparisons
            if _is_of(each.layer, layer) and each.phase is phase
        ),
        {},
    )
    prefix = f"{layer.display_name}/{phase.value}"
    bands: dict[str, Chart] = {}
    for title, quantities in _OVER_RANKS:
        known = next((each for each in quantities if each in spreads), None)
        if known is not None:
            tags = [f"{prefix}/{known}/{statistic}" for statistic in ("mean", "min", "max")]
            bands[f"{phase.value}: {title} over the processes"] = ("Margin", tags)
    return bands


def _lines(prefix: str, names: Iterable[str]) -> Chart:
    # TensorBoard matches from the start only, so the end is marked too.
    return "Multiline", [f"{prefix}/{name}$" for name in names]
