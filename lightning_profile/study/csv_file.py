"""``study.csv``: a row per layer, phase, quantity and batch size, with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from lightning_profile.study.analysis import Analysis
from lightning_profile.study.point import Point
from lightning_profile.study.projection import Projection
from lightning_profile.study.series import Series

CSV_NAME = "study.csv"
COLUMNS = (
    "batch_size",
    "status",
    "layer",
    "qualified_name",
    "phase",
    "quantity",
    "unit",
    "value",
    "least",
    "greatest",
    "theoretical",
    "slope",
    "intercept",
    "r_squared",
    "theoretical_slope",
    "on_line",
    "departure",
    "device",
)
_Row = dict[str, str | int | float | None]


def format_csv(analysis: Analysis) -> str:
    """The file's text: what was measured, what did not finish, then projections, named as such."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for series in analysis.series:
        writer.writerows(_values(analysis, series))
    for point in analysis.points:
        if not point.is_measured:
            writer.writerow(_unmeasured(point))
    for projection in analysis.projections:
        writer.writerows(_projected(projection))
    return text.getvalue()


def _values(analysis: Analysis, series: Series) -> Iterator[_Row]:
    layer, qualified_name, phase = series.row
    line, theory_line = series.line, series.theory_line
    left = {each.batch_size: each for each in analysis.departures[series.row, series.quantity.name]}
    for size, value in series.values.items():
        least, greatest = series.ranges.get(size, (None, None))
        yield {
            "batch_size": size,
            "status": "finished",
            "layer": layer,
            "qualified_name": qualified_name,
            "phase": phase,
            "quantity": series.quantity.name,
            "unit": series.quantity.unit,
            "value": value,
            "least": least,
            "greatest": greatest,
            "theoretical": series.theory.get(size),
            "slope": plain(None if line is None else line.slope),
            "intercept": plain(None if line is None else line.intercept),
            "r_squared": plain(None if line is None else line.r_squared),
            "theoretical_slope": plain(None if theory_line is None else theory_line.slope),
            "on_line": plain(None if line is None else line.at(size)),
            "departure": left[size].reason if size in left else None,
            "device": analysis.machine.device,
        }


def _unmeasured(point: Point) -> _Row:
    return {
        "batch_size": point.batch_size,
        "status": f"trial: {point.status}" if point.is_trial else point.status,
        "quantity": "requested_bytes",
        "unit": "B",
        "value": point.requested_bytes,
    }


def _projected(projection: Projection) -> Iterator[_Row]:
    layer, qualified_name, phase = projection.row
    for size, time_ns in projection.times_ns.items():
        yield {
            "batch_size": size,
            "status": "projection",
            "layer": layer,
            "qualified_name": qualified_name,
            "phase": phase,
            "quantity": "projected_roofline_time_ns",
            "unit": "ns",
            "value": time_ns,
            "device": f"projection: {projection.card.name}",
        }


def plain(value: object) -> int | float | None:
    """A rational number as an integer if it is one, else as the nearest float."""
    if value is None:
        return None
    number = float(value)  # type: ignore[arg-type]
    return int(number) if number == value and number.is_integer() else number
