"""All numbers of a study, from its points: what the files and the report show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from lightning_profile.devices import Card
from lightning_profile.study.departures import Departure, departures
from lightning_profile.study.disturbance import is_disturbed
from lightning_profile.study.point import STEP_NAME, Machine, Point, Row
from lightning_profile.study.prediction import (
    Limit,
    Prediction,
    UnknownLimit,
    predict,
    predict_limit,
)
from lightning_profile.study.projection import Projection, project
from lightning_profile.study.series import RowKey, Series, build_series, rows_by_key, time_column

STEP_ROW: RowKey = (STEP_NAME, "", "")
_IN_DETAIL = 3  # layers; the report has figures and tables of the longest ones


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A study's numbers.

    Attributes:
        points: In ascending order of batch size; trials last.
        rows: Of the measured ones, by layer and phase, then by batch size.
        series: Every quantity of every row.
        departures: By series, where it leaves its line.
        predictions: Of time and peak memory of the largest batch size.
        limit: The largest batch size that should fit, or why it can't be told; ``None`` if
            nothing is known of it.
        projections: To the cards that were asked for.
    """

    points: Sequence[Point]
    rows: Mapping[RowKey, Mapping[int, Row]]
    series: Sequence[Series]
    departures: Mapping[tuple[RowKey, str], Sequence[Departure]]
    predictions: Sequence[Prediction]
    limit: Limit | UnknownLimit | None
    projections: Sequence[Projection]

    @property
    def measured(self) -> list[Point]:
        """The points whose numbers stand side by side."""
        return [point for point in self.points if point.is_measured]

    @property
    def batch_sizes(self) -> list[int]:
        """Of the measured points."""
        return [point.batch_size for point in self.measured]

    @property
    def disturbed(self) -> list[int]:
        """The batch sizes whose times tell what else the machine did."""
        return [point.batch_size for point in self.measured if is_disturbed(point)]

    @property
    def machine(self) -> Machine:
        """Where the first of them was measured."""
        return next(point.machine for point in self.measured if point.machine is not None)

    @property
    def layer_rows(self) -> list[RowKey]:
        """The rows of layers."""
        return [key for key, rows in self.rows.items() if next(iter(rows.values())).layer_type]

    @property
    def step(self) -> RowKey:
        """The row of the whole step."""
        return STEP_ROW

    @property
    def in_detail(self) -> list[tuple[str, str]]:
        """Layer and qualified name of the layers that take the longest, in the model's order."""
        times: dict[tuple[str, str], float] = {}
        # A container's row sums up its layers': where there are layers, it is none of the longest.
        leaves = [key for key in self.layer_rows if next(iter(self.rows[key].values())).product]
        for key in leaves or self.layer_rows:
            series = self.time_of(key)
            longest = 0.0 if series is None else series.values[max(series.values)]
            times[key[:2]] = times.get(key[:2], 0.0) + longest
        longest_first = sorted(times, key=lambda layer: -times[layer])[:_IN_DETAIL]
        return [layer for layer in times if layer in longest_first]

    def of(self, row: RowKey, name: str) -> Series | None:
        """The series of a row and quantity; ``None`` if nothing is known of it.

        Args:
            row: Layer, qualified name and phase, such as ``("Conv2d-2", "conv2", "forward")``.
            name: A column of ``layer_profile.csv``, such as ``counted_flop``.
        """
        return self._by_name.get((row, name))

    def time_of(self, row: RowKey) -> Series | None:
        """The series of a row's time: the device's where there is one, else the CPU's."""
        name = time_column(self.rows[row])
        return None if name is None else self.of(row, name)

    @cached_property
    def _by_name(self) -> dict[tuple[RowKey, str], Series]:
        return {(each.row, each.quantity.name): each for each in self.series}


def analyse(
    points: Sequence[Point], *, project_to: Sequence[Card] = (), most_samples: int | None = None
) -> Analysis:
    """Everything that the points say.

    Args:
        points: In ascending order of batch size; trials last.
        project_to: Cards to project the rooflines to.
        most_samples: Samples of the training data; ``None`` if unknown.
    """
    rows = rows_by_key(points)
    series = build_series(points)
    largest = max(point.batch_size for point in points if not point.is_trial)
    predicted = [predict(each, largest) for each in series if _is_predicted(each, rows)]
    return Analysis(
        points=points,
        rows=rows,
        series=series,
        departures={
            (each.row, each.quantity.name): departures(each, _with_faults(rows[each.row], rows))
            for each in series
        },
        predictions=[each for each in predicted if each is not None],
        limit=predict_limit(points, most_samples),
        projections=project(points, project_to),
    )


def _with_faults(
    own: Mapping[int, Row], rows: Mapping[RowKey, Mapping[int, Row]]
) -> dict[int, Row]:
    """A layer's rows with the page faults of their steps, which are not told apart by layer."""
    steps = rows.get(STEP_ROW, {})
    faults = {size: step.values.get("page_faults") for size, step in steps.items()}
    return {
        size: row
        if (count := faults.get(size)) is None
        else replace(row, values={**row.values, "page_faults": count})
        for size, row in own.items()
    }


def _is_predicted(series: Series, rows: Mapping[RowKey, Mapping[int, Row]]) -> bool:
    name = series.quantity.name
    return name == time_column(rows[series.row]) or name.startswith("peak_")
