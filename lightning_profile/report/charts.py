"""TensorBoard's Custom Scalars: theory beside count and measurement in one chart."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from lightning_profile.records import Layer, Phase
from lightning_profile.report.scalars import MEMORY

Chart = tuple[str, Sequence[str]]  # its kind, and tags
_PHASES = tuple(phase.value for phase in (Phase.FORWARD, Phase.RECOMPUTE, Phase.BACKWARD))
_OF_A_PHASE = (
    (
        "FLOPs per step (one line where all agree)",
        ("theoretical_flop", "counted_flop", "hardware_flop"),
    ),
    (
        "bytes allocated per step",
        ("theoretical_allocated_bytes", "allocated_bytes", "peak_allocated_bytes"),
    ),
    (
        "time per step in ns",
        ("roofline_time_ns", "empirical_roofline_time_ns", "cpu_time_ns", "device_time_ns"),
    ),
)
_OF_ALL_PHASES = (
    ("FLOP/s achieved", "flop_per_s"),
    ("counted over theoretical FLOPs (1: they agree)", "flop_ratio"),
    ("measured over theoretical bytes (1: they agree)", "allocated_ratio"),
    ("fraction of the roofline (1: as fast as can be)", "roofline_fraction"),
)
_KEPT = tuple(
    f"{origin}{kind}_bytes"
    for kind in ("parameter", "gradient", "optimizer_state", "activation")
    for origin in ("theoretical_", "")
)
_OVER_RANKS = (  # of each line the first that is known
    (("device_time_ns", "device time in ns"), ("cpu_time_ns", "CPU time in ns")),
    (("peak_allocated_bytes", "peak of allocated bytes"),),
)


def chart_layout(layers: Sequence[Layer], tags: Collection[str]) -> dict[str, dict[str, Chart]]:
    """Layout for ``add_custom_scalars``; TensorBoard takes the last that a run has.

    Charts of one title are the same in every run, also where a run has not all of their lines:
    TensorBoard merges the layouts of all runs, and would show two that differ.

    Args:
        layers: The reported ones.
        tags: Those of the scalars that were written: there is no chart without a line.

    Returns:
        Layer to chart title to ``("Multiline", tags)``, whose tags are regular expressions, or
        ``("Margin", [value, lower, upper])`` of exact tags.
    """
    charts = {layer.display_name: _charts(layer.display_name, tags) for layer in layers}
    return {name: of_layer for name, of_layer in charts.items() if of_layer}


def _charts(name: str, tags: Collection[str]) -> dict[str, Chart]:
    lines = {
        f"{phase}: {title}": [f"{name}/{phase}/{quantity}" for quantity in quantities]
        for phase in _PHASES
        for title, quantities in _OF_A_PHASE
    }
    lines |= {
        f"all phases: {title}": [f"{name}/{phase}/{quantity}" for phase in _PHASES]
        for title, quantity in _OF_ALL_PHASES
    }
    lines["bytes kept in memory"] = [f"{name}/{MEMORY}/{quantity}" for quantity in _KEPT]
    charts = {
        title: _multiline(of_chart)
        for title, of_chart in lines.items()
        if any(tag in tags for tag in of_chart)
    }
    # TensorBoard shows bands below all lines, the last one first.
    return charts | dict(reversed(_bands(name, tags).items()))


def _multiline(tags: Iterable[str]) -> Chart:
    # A class can have any name. TensorBoard matches from the start only: the end is marked too.
    return "Multiline", [f"{re.escape(tag)}$" for tag in tags]


def _bands(name: str, tags: Collection[str]) -> dict[str, Chart]:
    """The processes' mean between the least and the greatest; nothing in one process."""
    bands: dict[str, Chart] = {}
    for phase in _PHASES:
        for alternatives in _OVER_RANKS:
            for quantity, title in alternatives:
                band = [f"{name}/{phase}/{quantity}/{each}" for each in ("mean", "min", "max")]
                if band[0] in tags:
                    bands[f"{phase}: {title} over the processes (mean, min to max)"] = (
                        "Margin",
                        band,
                    )
                    break
    return bands
