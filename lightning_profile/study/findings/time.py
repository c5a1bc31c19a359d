"""What limits the time, at which batch sizes, and how far it is from the least there can be."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lightning_profile.report.units import format_time
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.departures import FEW_PAGE_FAULTS
from lightning_profile.study.findings.words import listed, rows_named, sizes, times
from lightning_profile.study.projection import find_knee
from lightning_profile.study.series import RowKey, row_name

_WORTH_SAYING = 1.1  # times


def launch_bound(analysis: Analysis) -> list[str]:
    """Up to which batch size the device waits for the host."""
    sentences = []
    for row in _rows(analysis):
        bounds = {
            size: bound
            for size, bound in _bounds(analysis, row).items()
            if size not in analysis.disturbed
        }
        launched = [size for size, bound in bounds.items() if bound == "launch"]
        if not launched:
            continue
        if len(launched) == len(bounds):
            where = "at every batch size"
        elif launched == list(bounds)[: len(launched)]:
            where = f"up to batch size {launched[-1]}"
        else:
            where = f"at {sizes(launched)}"
        sentences.append(
            f"{row_name(row)} is bound by launches {where}: the device is done before the host has "
            "issued the work, so there a smaller batch saves no time."
        )
    return sentences


def roofline_knee(analysis: Analysis) -> list[str]:
    """From which batch size on arithmetic, not traffic, is the bound."""
    sentences = []
    without: dict[str, list[RowKey]] = {}
    for row in _rows(analysis):
        rooflines = {
            size: bound for size, bound in _bounds(analysis, row).items() if bound != "launch"
        }
        knee = find_knee(rooflines)
        if knee is not None:
            sentences.append(
                f"{row_name(row)} passes the roofline's knee at batch size {knee}: below it "
                "traffic to memory is the bound, from there on arithmetic."
            )
        elif len(rooflines) > 1 and len(set(rooflines.values())) == 1:
            without.setdefault(str(next(iter(rooflines.values()))), []).append(row)
    for bound, rows in without.items():
        limit = "arithmetic" if bound == "compute" else "traffic to memory"
        sentences.append(
            f"The roofline of {rows_named(rows)} has no knee within these batch sizes: the bound "
            f"is {limit} at each."
        )
    return sentences


def page_faults(analysis: Analysis) -> list[str]:
    """At which batch sizes a step of a CPU takes pages from the operating system."""
    rows = analysis.rows.get(analysis.step, {})
    per_sample = {
        size: row.values["page_faults"] / size
        for size, row in rows.items()
        if "page_faults" in row.values
    }
    many = {size: each for size, each in per_sample.items() if each > FEW_PAGE_FAULTS}
    if not many or analysis.machine.device_type != "cpu":
        return []
    where = listed(f"{each:.3g} at batch size {size}" for size, each in many.items())
    others = "" if len(many) == len(per_sample) else ", and next to none at the others"
    return [
        f"A step has page faults, per sample {where}{others}: memory that was given back to the "
        "operating system and comes anew, each page of it zeroed, takes time that no count of "
        "FLOPs knows of."
    ]


def cheapest_batch(analysis: Analysis) -> list[str]:
    """At which batch size a sample takes the least time, and what it takes at the smallest."""
    series = analysis.time_of(analysis.step) if analysis.step in analysis.rows else None
    if series is None or len(series.undisturbed) < 2:
        return []
    per_sample = {size: value / size for size, value in series.undisturbed.items()}
    best = min(per_sample, key=lambda size: per_sample[size])
    smallest, largest = min(per_sample), max(per_sample)
    parts = []
    for size in (smallest, largest):
        ratio = per_sample[size] / per_sample[best]
        if size != best and ratio >= _WORTH_SAYING:
            parts.append(f"{times(ratio)} times that at batch size {size}")
    if not parts:
        return [
            f"A sample takes about the same time at batch size {smallest} as at {largest}: "
            f"{format_time(per_sample[smallest])} and {format_time(per_sample[largest])} of the "
            "step."
        ]
    return [
        f"A sample takes the least time, {format_time(per_sample[best])} of the step, at batch "
        f"size {best}; it takes {' and '.join(parts)}."
    ]


def distance_from_roofline(analysis: Analysis) -> list[str]:
    """How many times the roofline's time the layers in detail take."""
    return _distance(analysis, "roofline_time_ns", "its roofline's time")


def distance_from_empirical_roofline(analysis: Analysis) -> list[str]:
    """Likewise, by what the device reached in a measurement, if that was asked for."""
    words = "the time of its empirical roofline, which is what this device reached,"
    return _distance(analysis, "empirical_roofline_time_ns", words)


def _distance(analysis: Analysis, name: str, words: str) -> list[str]:
    sentences = []
    for row in _rows(analysis):
        series, roofline = analysis.time_of(row), analysis.of(row, name)
        if series is None or roofline is None:
            continue
        ratios = {
            size: value / roofline.values[size]
            for size, value in series.undisturbed.items()
            if value and roofline.values.get(size)
        }
        if len(ratios) < 2:
            continue
        # A ratio may be below 1: what lies in a cache is faster than DRAM.
        distances = {size: abs(math.log(ratio)) for size, ratio in ratios.items()}
        near = min(distances, key=lambda size: distances[size])
        far = max(distances, key=lambda size: distances[size])
        sentences.append(
            f"{row_name(row)} takes {times(ratios[near])} times {words} at batch size {near}, "
            f"where it is nearest to it, and {times(ratios[far])} times at {far}, where it is "
            "farthest from it."
        )
    return sentences


def _rows(analysis: Analysis) -> list[RowKey]:
    return [row for row in analysis.layer_rows if row[:2] in analysis.in_detail]


def _bounds(analysis: Analysis, row: RowKey) -> Mapping[int, str | None]:
    return {size: each.bound for size, each in analysis.rows[row].items() if each.bound is not None}
