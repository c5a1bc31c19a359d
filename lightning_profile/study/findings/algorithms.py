"""Between which batch sizes other kernels or operators run."""

from __future__ import annotations

from itertools import pairwise

from lightning_profile.study.analysis import Analysis
from lightning_profile.study.departures import algorithm_change
from lightning_profile.study.series import row_name


def algorithm_changes(analysis: Analysis) -> list[str]:
    """One sentence per change of the layers in detail."""
    sentences = []
    for row in analysis.layer_rows:
        if row[:2] not in analysis.in_detail:
            continue
        rows = analysis.rows[row]
        for before, size in pairwise(rows):
            change = algorithm_change(rows[before], rows[size])
            if change is not None:
                sentences.append(
                    f"{row_name(row)} changes its algorithm between batch size {before} and "
                    f"{size}, by the names of what ran: it {change}."
                )
    return sentences
