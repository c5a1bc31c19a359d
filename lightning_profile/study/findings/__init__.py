"""What the data say, a sentence each: one small function per finding, computed and never assumed.

Each function takes the analysis and returns its sentences, none where the data don't bear them.
Growth says what is linear; time, memory, algorithms and limits what is not, and why; forecasts how
far the small batches tell the large ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightning_profile.study.analysis import Analysis
from lightning_profile.study.findings.algorithms import algorithm_changes
from lightning_profile.study.findings.forecasts import (
    largest_fitting,
    out_of_memory,
    predictions,
    projections,
)
from lightning_profile.study.findings.growth import (
    allocated_bytes,
    counted_flop,
    hardware_flop,
    time_growth,
)
from lightning_profile.study.findings.memory import (
    dram_traffic,
    peak_memory,
    reserved_memory,
    resident_memory,
    workspace_thresholds,
)
from lightning_profile.study.findings.surroundings import (
    failed_points,
    interruptions,
    several_devices,
)
from lightning_profile.study.findings.time import (
    cheapest_batch,
    distance_from_empirical_roofline,
    distance_from_roofline,
    launch_bound,
    page_faults,
    roofline_knee,
)

FINDINGS: Sequence[Callable[[Analysis], list[str]]] = (
    several_devices,
    failed_points,
    interruptions,
    counted_flop,
    hardware_flop,
    allocated_bytes,
    workspace_thresholds,
    peak_memory,
    reserved_memory,
    resident_memory,
    dram_traffic,
    time_growth,
    algorithm_changes,
    page_faults,
    launch_bound,
    roofline_knee,
    cheapest_batch,
    distance_from_roofline,
    distance_from_empirical_roofline,
    predictions,
    out_of_memory,
    largest_fitting,
    projections,
)


def findings(analysis: Analysis) -> list[str]:
    """All sentences, in the order of the report."""
    return [sentence for find in FINDINGS for sentence in find(analysis)]
