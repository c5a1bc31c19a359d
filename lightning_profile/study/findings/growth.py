"""Whether FLOPs, bytes and time grow in a straight line."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_profile.report.units import format_bytes, format_exact
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.departures import TOLERANCE_OF_TIMES
from lightning_profile.study.findings.words import (
    listed,
    off_line,
    percent,
    rows_named,
    sizes,
    times,
)
from lightning_profile.study.fit import Line, show_r_squared, straight_part
from lightning_profile.study.point import Row
from lightning_profile.study.series import Series, row_name

_THE_SAME = 1.25  # times


def counted_flop(analysis: Analysis) -> list[str]:
    """Whether the FLOPs counted lie on theory's line."""
    return _flop(analysis, "counted_flop", "FLOPs counted over the operators that ran")


def hardware_flop(analysis: Analysis) -> list[str]:
    """Whether the FLOPs that the hardware executed do."""
    return _flop(analysis, "hardware_flop", "FLOPs that the hardware executed")


def _flop(analysis: Analysis, name: str, words: str) -> list[str]:
    """One sentence for all rows that are as theory has it, one for each that is not."""
    as_in_theory: list[Series] = []
    sentences = []
    for row in analysis.layer_rows:
        series = analysis.of(row, name)
        if series is None or series.line is None or series.line.r_squared is None:
            continue
        line, theory = series.line, series.theory_line
        if not line.is_exact:
            sentences.append(
                f"The {words} of {row_name(row)} do not lie on a straight line "
                f"(R² = {show_r_squared(line)}){_farthest_from_theory(series)}."
            )
        elif theory is None:
            sentences.append(
                f"The {words} of {row_name(row)} lie on a straight line exactly (R² = 1): "
                f"{_per_sample(series)}. There is no theory beside them."
            )
        elif (line.slope, line.intercept) == (theory.slope, theory.intercept):
            if line.slope:
                as_in_theory.append(series)
        else:
            ratio = float(line.slope / theory.slope) if theory.slope else None
            slopes = "theory has none" if ratio is None else f"{ratio:.3g} times theory's"
            sentences.append(
                f"The {words} of {row_name(row)} lie on a straight line exactly (R² = 1), but its "
                f"slope is {_per_sample(series)}, {slopes}."
            )
    if as_in_theory:
        as_in_theory.sort(key=lambda each: each.row[:2] not in analysis.in_detail)
        slopes = listed(f"{each.name} {_per_sample(each)}" for each in as_in_theory[:4])
        more = f", and so on for {len(as_in_theory)} rows" if len(as_in_theory) > 4 else ""
        sentences.insert(
            0,
            f"The {words} lie on theory's straight line exactly (R² = 1, the same slope, the same "
            f"intercept): {slopes}{more}.",
        )
    return sentences


def _farthest_from_theory(series: Series) -> str:
    shares = {
        size: series.values[size] / theory - 1
        for size, theory in series.theory.items()
        if theory and size in series.values
    }
    if not shares:
        return ""
    size = max(shares, key=lambda each: abs(shares[each]))
    side = "above" if shares[size] > 0 else "below"
    return (
        f"; the farthest from theory, at batch size {size}, are {percent(shares[size])} {side} it"
    )


def _per_sample(series: Series) -> str:
    line = series.line
    slope = 0 if line is None else line.slope
    whole = format_exact(int(slope), "") if slope == int(slope) else f"{float(slope):,.1f}"
    return f"{whole} FLOPs per sample"


def allocated_bytes(analysis: Analysis) -> list[str]:
    """Whether what stays allocated is what theory says."""
    same, sentences = [], []
    for row in analysis.layer_rows:
        series = analysis.of(row, "allocated_bytes")
        if series is None or not series.theory:
            continue
        gaps = {
            size: series.values[size] - theory
            for size, theory in series.theory.items()
            if size in series.values and series.values[size] != theory
        }
        if not gaps:
            same.append(row)
            continue
        worst = max(gaps, key=lambda size: abs(gaps[size]))
        sentences.append(
            f"What {row_name(row)} leaves allocated differs from theory at {sizes(list(gaps))}, "
            f"by {format_bytes(gaps[worst])} at batch size {worst} "
            f"({percent(gaps[worst] / series.values[worst])} of it)"
            f"{_what_gaps_are({size: analysis.rows[row][size] for size in gaps}, gaps)}."
        )
    if same:
        sentences.insert(
            0,
            f"What {rows_named(same)} leave{'s' if len(same) == 1 else ''} allocated is what "
            f"theory says, to the byte, at every batch size.",
        )
    return sentences


def _what_gaps_are(rows: Mapping[int, Row], gaps: Mapping[int, float]) -> str:
    """Of which recorded blocks they consist, if that is so at every batch size."""
    names = {
        "rounding_bytes": "the allocator's rounding to whole blocks",
        "other_kept_bytes": "what is kept beside theory's tensors, such as casts of the weights",
    }
    parts = {name: {size: row.values.get(name, 0) for size, row in rows.items()} for name in names}
    if any(sum(part[size] for part in parts.values()) != gaps[size] for size in gaps):
        return ""
    there = [names[name] for name, part in parts.items() if any(part.values())]
    return f": it is {' and '.join(there)}"


def time_growth(analysis: Analysis) -> list[str]:
    """Whether the time of the step and of the layers in detail grows in a straight line."""
    sentences = []
    rows = [row for row in analysis.layer_rows if row[:2] in analysis.in_detail]
    for row in [analysis.step, *rows]:
        series = analysis.time_of(row) if row in analysis.rows else None
        if series is None or series.line is None or series.line.r_squared is None:
            continue
        line, values = series.line, series.undisturbed
        found = analysis.departures[row, series.quantity.name]
        left = [each for each in found if each.batch_size in values]
        r_squared = f"R² = {show_r_squared(line)}"
        what = f"The {series.quantity.title} of {row_name(row)}"
        least, greatest = min(values.values()), max(values.values())
        if line.slope <= 0 or greatest < _THE_SAME * least:
            sentences.append(
                f"{what} does not grow with the batch: it is between "
                f"{series.quantity.format(least)} and {series.quantity.format(greatest)}."
            )
            continue
        if left:
            sentences.append(
                f"{what} does not grow in one straight line: it leaves its line ({r_squared}) by "
                f"more than a tenth at {off_line(series, left)}. {_straight_part(series)}"
            )
        else:
            sentences.append(
                f"{what} grows in a straight line, within a tenth or what its steps scatter "
                f"({r_squared}): "
                f"{series.quantity.format(float(line.slope))} per sample and "
                f"{_beside(series, float(line.intercept))}."
            )
    return sentences


def _straight_part(series: Series) -> str:
    """How far it is straight from the smallest batch on, and what comes then."""
    values = series.undisturbed
    found = straight_part(list(values), list(values.values()), TOLERANCE_OF_TIMES)
    if found is None:
        return "No three batch sizes from the smallest on lie on a line either."
    straight, line = found
    after = [size for size in values if size > straight[-1]]
    if not after:
        return f"All lie within a tenth of their value on {_slope(series, line)}."
    ratio = float(values[after[0]] / line.at(after[0]))
    return (
        f"Up to batch size {straight[-1]} it is straight ({_slope(series, line)}); at {after[0]} "
        f"it is {times(ratio)} times what that line says."
    )


def _slope(series: Series, line: Line) -> str:
    return f"{series.quantity.format(float(line.slope))} per sample"


def _beside(series: Series, intercept: float) -> str:
    if intercept < 0:
        return f"{series.quantity.format(-intercept)} less than proportional"
    return f"{series.quantity.format(intercept)} whatever the batch size"
