"""What the small batches say of the largest, how large a batch can be, and other devices."""

from __future__ import annotations

from lightning_profile.report.units import format_bytes, format_time
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.findings.words import listed, percent, sizes
from lightning_profile.study.prediction import Limit, Prediction, UnknownLimit
from lightning_profile.study.projection import merged
from lightning_profile.study.quantities import quantity
from lightning_profile.study.series import row_name

_NEXT_TO_NONE = 0.0005  # 0.0% in the report's table


def predictions(analysis: Analysis) -> list[str]:
    """How far the line through the small batches is from the whole step at the largest."""
    return [_prediction(each) for each in analysis.predictions if each.series.row == analysis.step]


def _prediction(each: Prediction) -> str:
    shown = each.series.quantity
    start = (
        f"From {sizes(each.batch_sizes)}, a straight line predicts "
        f"{shown.format(each.predicted)} for the {shown.title} at batch size {each.batch_size}"
    )
    if each.measured is None or each.error is None:
        return f"{start}, which could not be measured."
    if abs(each.error) < _NEXT_TO_NONE:
        return f"{start}, and so much was measured."
    return (
        f"{start}; measured were {shown.format(each.measured)}: the prediction is "
        f"{percent(each.error)} too {'high' if each.error > 0 else 'low'}."
    )


def out_of_memory(analysis: Analysis) -> list[str]:
    """Which batch sizes did not fit, and what they asked for."""
    return [
        f"Batch size {point.batch_size} ran out of memory"
        + (
            f", as it asked for {format_bytes(point.requested_bytes)} more."
            if point.requested_bytes is not None
            else "; how much it asked for is unknown."
        )
        for point in analysis.points
        if point.status == "out of memory" and not point.is_trial
    ]


def largest_fitting(analysis: Analysis) -> list[str]:
    """How large a batch should fit in memory, and whether it did."""
    limit = analysis.limit
    if limit is None:
        return []
    if isinstance(limit, UnknownLimit):
        return [why_no_limit(limit)]
    tried = [
        point
        for point in analysis.points
        if point.is_trial and point.batch_size == limit.batch_size
    ]
    if not tried:
        return [f"{_should_fit(limit)}; this was not tried."]
    outcome = {
        "finished": "it was tried, and fits",
        "out of memory": "it was tried, and ran out of memory",
        "failed": f"it was tried, and failed for another reason ({tried[0].message})",
    }[tried[0].status]
    return [f"{_should_fit(limit)}; {outcome}."]


def why_no_limit(limit: UnknownLimit) -> str:
    """A sentence."""
    shown, farthest = quantity(limit.quantity), limit.farthest
    through = f"the {shown.title} at {sizes(limit.batch_sizes)}"
    if farthest is None:
        why = f"{through} does not rise"
    else:
        why = (
            f"{through} lies on no straight line: at {farthest.batch_size} it is "
            f"{shown.format(farthest.value)}, on the line {shown.format(farthest.on_line)}"
        )
    return f"How large a batch fits can't be told: {why}."


def _should_fit(limit: Limit) -> str:
    memory = format_bytes(limit.capacity_bytes)
    start = (
        f"By the straight line through the {quantity(limit.quantity).title} at "
        f"{sizes(limit.batch_sizes)}"
    )
    if len(limit.batch_sizes) == 2:
        start += ", which are too few to tell whether it is one"
    if limit.beside_bytes:
        start += f", beside which the process held at most {format_bytes(limit.beside_bytes)}"
    if limit.is_all_data:
        return (
            f"{start}, all {limit.batch_size:,} training samples should fit in one batch: memory, "
            f"{memory}, sets no limit here"
        )
    return (
        f"{start}, batches of up to {limit.batch_size:,} samples should fit in the {memory} "
        "that the training can have"
    )


def projections(analysis: Analysis) -> list[str]:
    """The least time on other devices at the largest batch size, of the layers in detail."""
    sentences = []
    for row in analysis.layer_rows:
        found = [each for each in analysis.projections if each.row == row]
        if not found or row[:2] not in analysis.in_detail:
            continue
        size = max(found[0].times_ns)
        times = listed(
            f"{format_time(each.times_ns[size])} on {names} ({each.arithmetic}"
            f"{'' if each.knee is None else f', knee at batch size {each.knee}'})"
            for names, each in merged(found)
            if size in each.times_ns
        )
        sentences.append(
            f"Projection, not measured: {row_name(row)} would take at least {times} at batch size "
            f"{size}."
        )
    return sentences
