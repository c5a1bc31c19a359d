"""``study.json``: all of a study's numbers and findings, and its points as they were measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lightning_profile.study.analysis import Analysis
from lightning_profile.study.csv_file import plain
from lightning_profile.study.fit import Line
from lightning_profile.study.prediction import Limit
from lightning_profile.study.series import Series

JSON_NAME = "study.json"
_FORMAT = 1


def format_json(analysis: Analysis, findings: Sequence[str]) -> str:
    """The file's text."""
    limit = analysis.limit
    document = {
        "format": _FORMAT,
        "findings": list(findings),
        "machine": asdict(analysis.machine),
        "batch_sizes": analysis.batch_sizes,
        "disturbed_batch_sizes": analysis.disturbed,
        "series": [_series(analysis, each) for each in analysis.series],
        "predictions": [
            {
                **_row(each.series),
                "from_batch_sizes": list(each.batch_sizes),
                "batch_size": each.batch_size,
                "predicted": each.predicted,
                "measured": each.measured,
                "error": each.error,
            }
            for each in analysis.predictions
        ],
        "limit": None
        if not isinstance(limit, Limit)
        else {
            "from_batch_sizes": list(limit.batch_sizes),
            "batch_size": limit.batch_size,
            "capacity_bytes": limit.capacity_bytes,
            "quantity": limit.quantity,
            "beside_bytes": limit.beside_bytes,
            "is_all_data": limit.is_all_data,
            "line": _line(limit.line),
        },
        "projections": [
            {
                "is_projection": True,
                "layer": each.row[0],
                "qualified_name": each.row[1],
                "phase": each.row[2],
                "device": each.card.name,
                "source": each.card.source,
                "arithmetic": each.arithmetic,
                "roofline_time_ns": each.times_ns,
                "knee": each.knee,
            }
            for each in analysis.projections
        ],
        "points": [asdict(point) for point in analysis.points],
    }
    return json.dumps(document, indent=1) + "\n"


def _series(analysis: Analysis, series: Series) -> dict[str, Any]:
    left = analysis.departures[series.row, series.quantity.name]
    return {
        **_row(series),
        "values": series.values,
        "ranges": series.ranges,
        "theoretical": series.theory,
        "line": _line(series.line),
        "theoretical_line": _line(series.theory_line),
        "departures": [asdict(each) for each in left],
    }


def _row(series: Series) -> dict[str, Any]:
    layer, qualified_name, phase = series.row
    return {
        "layer": layer,
        "qualified_name": qualified_name,
        "phase": phase,
        "quantity": series.quantity.name,
        "unit": series.quantity.unit,
    }


def _line(line: Line | None) -> dict[str, Any] | None:
    if line is None:
        return None
    return {
        "slope": plain(line.slope),
        "intercept": plain(line.intercept),
        "r_squared": plain(line.r_squared),
    }
