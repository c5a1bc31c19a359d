"""Figures can be read: values fill their panels, and no name lies on another."""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from lightning_profile.drawing.look import STYLE
from lightning_profile.study import figures
from lightning_profile.study.analysis import Analysis, analyse
from lightning_profile.study.rate_figure import draw_rate
from lightning_profile.study.step_figures import draw_step_memory
from tests.study.made import analysis, point

#: As a CPU had it: the peaks of small batches are flat, and small beside the process.
MEMORY = {
    "peak_tensor_bytes": {8: 14_237_024, 16: 14_237_024, 32: 22_624_472}.__getitem__,
    "peak_resident_bytes": lambda n: 2**30 + 2**22 * n,
}


def drawn(draw: object, made: Analysis, *more: object) -> Figure:
    with mpl.rc_context(STYLE):
        _, _, figure = draw(made, *more)  # type: ignore[operator]
        figure.draw_without_rendering()
    assert isinstance(figure, Figure)
    return figure


def heights(axes: Axes, values: list[float]) -> list[float]:
    """Where values are in a panel: 0 is its bottom, 1 its top."""
    places = axes.transData.transform([(8, value) for value in values])
    return [float(each) for _, each in axes.transAxes.inverted().transform(places)]


@pytest.mark.parametrize("sizes", [(8, 16, 32), (16,), (64, 128, 256, 512, 1024)])
def test_the_axis_begins_and_ends_beside_the_batch_sizes(sizes: tuple[int, ...]) -> None:
    times = {size: (4000.0 * size, 9000.0 * size) for size in sizes}
    made = analysis(row=lambda n: {"ranges": {"cpu_time_ns": times[n]}}, sizes=sizes)
    (axes,) = drawn(figures._time, made, made.layer_rows).axes
    left, right = axes.get_xlim()
    assert sizes[0] / 1.3 < left < sizes[0]
    assert sizes[-1] < right < sizes[-1] * 1.3


def test_peaks_of_tensors_and_of_the_process_have_panels_of_their_own() -> None:
    upper, lower = drawn(draw_step_memory, analysis(step=MEMORY, sizes=(8, 16, 32))).axes
    tensors = heights(upper, [14_237_024 / 2**20, 22_624_472 / 2**20])
    assert 0 < tensors[0] < 0.25
    assert 0.75 < tensors[1] < 1
    resident = heights(lower, [0, 1 + 2**22 * 32 / 2**30])
    assert resident[0] == pytest.approx(0)
    assert 0.8 < resident[1] < 0.95


def test_of_a_gpu_all_peaks_are_in_one_panel() -> None:
    step = {f"peak_{word}_bytes": lambda n: 2**20 * n for word in ("allocated", "reserved")}
    made = analyse([point(size, step=step) for size in (8, 16, 32)])
    (axes,) = drawn(draw_step_memory, made).axes
    assert axes.get_ylabel() == "memory / MiB"


@pytest.mark.parametrize("rates", [(1e9, 1e9), (1e9, 1.01e9), (1e9, 8e9)])
def test_the_names_of_the_first_and_the_last_batch_size_lie_apart(
    rates: tuple[float, float],
) -> None:
    layer = {
        "flop_per_s": lambda n: rates[n > 16],
        "flop_per_byte": lambda n: 90 + n / 100,
    }
    made = analysis(layer, sizes=(8, 16, 32))
    (axes,) = drawn(draw_rate, made, made.layer_rows).axes
    names = [each for each in axes.texts if isinstance(each, Annotation)]
    assert [each.get_text() for each in names] == ["8", "32"]
    boxes = [each.get_window_extent() for each in names]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
