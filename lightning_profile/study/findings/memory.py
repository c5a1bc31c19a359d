"""How memory grows, and the traffic to it."""

from __future__ import annotations

from lightning_profile.report.units import format_bytes
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.departures import SEGMENT_BYTES, TOLERANCE_OF_TIMES
from lightning_profile.study.findings.words import listed, off_line, percent, times
from lightning_profile.study.fit import show_r_squared
from lightning_profile.study.series import row_name
from lightning_profile.study.workspace import thresholds

_PEAKS = ("peak_tensor_bytes", "peak_allocated_bytes", "peak_reserved_bytes")


def peak_memory(analysis: Analysis) -> list[str]:
    """Whether the peaks of the whole training grow in a straight line."""
    sentences = []
    for name in _PEAKS:
        series = analysis.of(analysis.step, name)
        if series is None or series.line is None or series.line.r_squared is None:
            continue
        line, left = series.line, analysis.departures[analysis.step, name]
        r_squared = f"R² = {show_r_squared(line)}"
        what = f"The {series.quantity.title}"
        worst = max(left, key=lambda each: abs(each.share), default=None)
        if worst is not None and abs(worst.share) < TOLERANCE_OF_TIMES:
            sentences.append(
                f"{what} grows nearly in a straight line ({r_squared}), "
                f"{format_bytes(float(line.slope))} per sample: at batch size {worst.batch_size}, "
                f"where it is farthest from it, it is {percent(worst.share)} "
                f"{'above' if worst.share > 0 else 'below'} it."
            )
        elif left:
            sentences.append(
                f"{what} does not grow in a straight line: it leaves its line ({r_squared}) at "
                f"{off_line(series, left)}."
            )
        else:
            how = "exactly" if line.is_exact else "to a thousandth"
            sentences.append(
                f"{what} grows in a straight line {how} ({r_squared}): "
                f"{format_bytes(float(line.slope))} per sample."
            )
    return sentences


def resident_memory(analysis: Analysis) -> list[str]:
    """Between what the process's own peaks lie, which are the system's account of it."""
    series = analysis.of(analysis.step, "peak_resident_bytes")
    if series is None or len(series.values) < 2:
        return []
    least = min(series.values, key=lambda size: series.values[size])
    most = max(series.values, key=lambda size: series.values[size])
    return [
        f"The {series.quantity.title} of the process is between "
        f"{format_bytes(series.values[least])}, at batch size {least}, and "
        f"{format_bytes(series.values[most])}, at batch size {most}."
    ]


def dram_traffic(analysis: Analysis) -> list[str]:
    """How many times the compulsory traffic went to and from DRAM, where that was counted."""
    sentences = []
    for row in analysis.layer_rows:
        moved = [analysis.of(row, f"dram_{way}_bytes") for way in ("read", "write")]
        ratios = {
            size: sum(each.values[size] for each in moved if each is not None)
            / sum(each.theory[size] for each in moved if each is not None)
            for size in analysis.batch_sizes
            if all(each is not None and each.theory.get(size) for each in moved)
            and all(each is not None and size in each.values for each in moved)
        }
        if row[:2] not in analysis.in_detail or not ratios:
            continue
        parts = [f"{times(ratio)} times at batch size {size}" for size, ratio in ratios.items()]
        sentences.append(
            f"The DRAM traffic of {row_name(row)}, as the hardware counted it, is the compulsory "
            f"traffic {listed(parts)}."
        )
    return sentences


def workspace_thresholds(analysis: Analysis) -> list[str]:
    """Between which batch sizes the workspace jumps."""
    sentences = []
    for row in analysis.layer_rows:
        if row[:2] not in analysis.in_detail:
            continue
        sentences += [
            f"The workspace of {row_name(row)} jumps between batch size {each.below} and "
            f"{each.above}: per sample it is {each}."
            for each in thresholds(analysis.rows[row])
        ]
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
