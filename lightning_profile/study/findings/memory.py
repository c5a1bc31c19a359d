"""Where memory does not grow as the batch does."""

from __future__ import annotations

from itertools import pairwise

from lightning_profile.report.units import format_bytes
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.departures import SEGMENT_BYTES, workspace_jump
from lightning_profile.study.series import row_name


def workspace_thresholds(analysis: Analysis) -> list[str]:
    """Between which batch sizes the workspace per sample changes."""
    sentences = []
    for row in analysis.layer_rows:
        if row[:2] not in analysis.in_detail:
            continue
        rows = analysis.rows[row]
        for before, size in pairwise(rows):
            jump = workspace_jump(rows, size)
            if jump is not None and "workspace_bytes" in rows[before].values:
                sentences.append(
                    f"The workspace of {row_name(row)} does not grow with the batch between "
                    f"batch size {before} and {size}: per sample it is {jump}."
                )
    return sentences


def reserved_memory(analysis: Analysis) -> list[str]:
    """Whether memory is reserved in steps rather than as it is needed."""
    series = analysis.of(analysis.step, "peak_reserved_bytes")
    allocated = analysis.of(analysis.step, "peak_allocated_bytes")
    if series is None or allocated is None:
        return []
    extra = {
        size: value - allocated.values[size]
        for size, value in series.values.items()
        if size in allocated.values
    }
    if not extra:
        return []
    most = max(extra, key=lambda size: extra[size] / series.values[size])
    steps = (
        f", in segments of {format_bytes(SEGMENT_BYTES)} and more"
        if all(value % SEGMENT_BYTES == 0 for value in series.values.values())
        else ""
    )
    return [
        f"The allocator reserves more than was ever allocated at once{steps}: at batch size {most} "
        f"{format_bytes(extra[most])} of {format_bytes(series.values[most])}."
    ]
