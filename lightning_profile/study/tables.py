"""The report's tables: numbers as people read them, batch sizes across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_profile.report.units import format_bytes, format_time
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.departures import Departure
from lightning_profile.study.disturbance import is_disturbed
from lightning_profile.study.fit import show_r_squared
from lightning_profile.study.point import Point
from lightning_profile.study.projection import merged
from lightning_profile.study.quantities import KNOWN
from lightning_profile.study.series import RowKey, Series, row_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of texts.

    Attributes:
        columns: Its head.
        rows: As many cells each.
        words: How many of the first columns hold words, not numbers.
        has_remarks: Whether the last one does.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    has_remarks: bool = False


def step_table(analysis: Analysis) -> Table:
    """The whole step and the points that did not finish: a row per batch size."""
    step = [each for each in analysis.series if each.row == analysis.step]
    columns = ["batch size", *(each.quantity.title for each in step), "time per sample", "outcome"]
    time = analysis.time_of(analysis.step) if analysis.step in analysis.rows else None
    rows = []
    for point in analysis.points:
        size = point.batch_size
        per_sample = None if time is None else time.values.get(size)
        outcome = _outcome(point)
        if point.requested_bytes is not None:
            outcome += f", asked for {format_bytes(point.requested_bytes)}"
        is_shown = point.is_measured
        cells = [_cell(each, size) if is_shown else "" for each in step]
        share = format_time(per_sample / size) if is_shown and per_sample is not None else ""
        rows.append([str(size), *cells, share, outcome])
    return Table(columns=columns, rows=rows, words=0, has_remarks=True)


def values_table(analysis: Analysis, row: RowKey) -> Table:
    """A layer's phase: a row per quantity, a column per batch size."""
    shown = _shown(analysis, row)
    return Table(
        columns=["quantity", *(str(size) for size in analysis.batch_sizes)],
        rows=[
            [each.quantity.title, *(_cell(each, size) for size in analysis.batch_sizes)]
            for each in shown
        ],
    )


def lines_table(analysis: Analysis, row: RowKey) -> Table:
    """The straight lines of a layer's phase, theory's slope beside them."""
    rows = []
    for each in _shown(analysis, row):
        line = each.line
        if line is None:
            continue
        left = analysis.departures[row, each.quantity.name]
        theory = each.theory_line
        rows.append(
            [
                each.quantity.title,
                each.quantity.format(float(line.slope)),
                "" if theory is None else each.quantity.format(float(theory.slope)),
                each.quantity.format(float(line.intercept)),
                show_r_squared(line),
                _by_reason(left),
            ]
        )
    return Table(
        columns=[
            "quantity",
            "slope, per sample",
            "theory's slope",
            "intercept",
            "R²",
            "leaves the line at",
        ],
        rows=rows,
        has_remarks=True,
    )


def _by_reason(departures: Sequence[Departure]) -> str:
    """Such as ``16, 32: bound by launches; 1024: no reason seen``; ``study.csv`` says more."""
    sizes: dict[str, list[str]] = {}
    for each in departures:
        sizes.setdefault(each.brief, []).append(str(each.batch_size))
    return "; ".join(f"{', '.join(those)}: {reason}" for reason, those in sizes.items())


def predictions_table(analysis: Analysis) -> Table:
    """What was predicted for the largest batch size beside what was measured."""
    return Table(
        columns=["row", "quantity", "line through", "predicted", "measured", "error"],
        rows=[
            [
                each.series.name,
                each.series.quantity.title,
                ", ".join(map(str, each.batch_sizes)),
                each.series.quantity.format(each.predicted),
                "" if each.measured is None else each.series.quantity.format(each.measured),
                "" if each.error is None else f"{each.error:+.1%}".replace("-", "−"),
            ]
            for each in analysis.predictions
        ],
        words=3,
    )


def overview_table(analysis: Analysis, size: int) -> Table:
    """A row per layer and phase, where the report does not show all of them in detail."""
    rows = []
    for row in analysis.layer_rows:
        flop, time = analysis.of(row, "counted_flop"), analysis.time_of(row)
        fraction = analysis.of(row, "roofline_fraction")
        bound = analysis.rows[row][size].bound if size in analysis.rows[row] else None
        rows.append(
            [
                row[0],
                row[2],
                "" if flop is None else _cell(flop, size),
                "" if flop is None else show_r_squared(flop.line),
                "" if time is None else _cell(time, size),
                "" if time is None else show_r_squared(time.line),
                "" if fraction is None else _cell(fraction, size),
                bound or "",
            ]
        )
    is_complete = {row[:2] for row in analysis.layer_rows} == set(analysis.in_detail)
    return Table(
        columns=["layer", "phase", "FLOPs", "R²", "time", "R²", "of the roofline", "bound"],
        rows=[] if is_complete else rows,
        words=2,
        has_remarks=True,
    )


def projections_table(analysis: Analysis) -> Table:
    """The least time on other devices."""
    return Table(
        columns=[
            "row",
            "projected to",
            "arithmetic",
            *(str(size) for size in analysis.batch_sizes),
        ],
        rows=[
            [
                row_name(each.row),
                names,
                each.arithmetic,
                *(
                    format_time(each.times_ns[size]) if size in each.times_ns else ""
                    for size in analysis.batch_sizes
                ),
            ]
            for names, each in merged(analysis.projections)
            if each.row[:2] in analysis.in_detail
        ],
        words=3,
    )


def points_table(analysis: Analysis) -> Table:
    """Where each point's own run is, and how long it took."""
    return Table(
        columns=["batch size", "outcome", "took", "run, or what went wrong"],
        rows=[
            [
                str(point.batch_size),
                _outcome(point),
                "" if point.duration_s is None else format_time(point.duration_s * 1e9),
                "; ".join(part for part in (point.run_folder, point.message) if part),
            ]
            for point in analysis.points
        ],
        words=2,
        has_remarks=True,
    )


def _outcome(point: Point) -> str:
    if point.is_trial:
        return f"trial: {point.status}"
    return f"{point.status}, disturbed" if is_disturbed(point) else point.status


def _shown(analysis: Analysis, row: RowKey) -> list[Series]:
    """What there is a word for, and is not of theory alone where theory is zero."""
    return [
        each
        for each in analysis.series
        if each.row == row and each.quantity.name in KNOWN and any(each.values.values())
    ]


def _cell(series: Series, size: int) -> str:
    value = series.values.get(size)
    if value is None:
        return ""
    return series.quantity.format(value)
