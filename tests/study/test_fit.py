"""Straight lines in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_profile.study.fit import fit_line, show_r_squared, straight_part

SIZES = [16, 32, 64, 128, 256, 512, 1024]
whole = st.integers(-(10**30), 10**30)


@given(slope=whole, intercept=whole)
def test_counts_on_a_line_give_it_back_to_the_digit(slope: int, intercept: int) -> None:
    line = fit_line(SIZES, [slope * size + intercept for size in SIZES])
    assert line is not None
    assert (line.slope, line.intercept, line.r_squared) == (slope, intercept, 1)
    assert line.is_exact


def test_one_flop_too_many_in_ten_to_the_thirty_is_no_line_any_more() -> None:
    values = [10**27 * size for size in SIZES]
    values[-1] += 1
    line = fit_line(SIZES, values)
    assert line is not None
    assert not line.is_exact
    assert show_r_squared(line) == "0.99999"  # never rounded up to 1


@given(st.lists(st.floats(-1e9, 1e9), min_size=7, max_size=7))
def test_it_is_the_least_squares_line(values: list[float]) -> None:
    line = fit_line(SIZES, values)
    assert line is not None
    slope, intercept = np.polyfit(SIZES, values, 1)
    scale = max(1.0, *map(abs, values))
    assert float(line.slope) == pytest.approx(slope, abs=1e-8 * scale)
    assert float(line.intercept) == pytest.approx(intercept, abs=1e-8 * scale)


def test_r_squared_is_the_part_of_the_variance_that_is_explained() -> None:
    values = [1, 3, 2, 5]
    line = fit_line([1, 2, 3, 4], values)
    assert line is not None
    left = sum((value - line.at(x)) ** 2 for x, value in enumerate(values, start=1))
    mean = Fraction(sum(values), 4)
    assert line.r_squared == 1 - left / sum((value - mean) ** 2 for value in values)


def test_two_points_say_nothing_about_straightness_and_one_gives_no_line() -> None:
    line = fit_line([16, 32], [1, 2])
    assert line is not None
    assert line.r_squared is None
    assert not line.is_exact
    assert show_r_squared(line) == ""
    assert fit_line([16], [1]) is None
    assert fit_line([], []) is None


def test_a_constant_lies_on_its_line() -> None:
    line = fit_line(SIZES, [7] * 7)
    assert line is not None
    assert (line.slope, line.intercept, line.is_exact) == (0, 7, True)


def test_the_straight_part_ends_where_values_leave_it() -> None:
    found = straight_part(SIZES, [10, 20, 40, 80, 500, 1000, 2000], 0.1)
    assert found is not None
    sizes, line = found
    assert sizes == [16, 32, 64, 128]
    assert line.slope == Fraction(10, 16)
    assert straight_part(SIZES, [1, 100, 1, 100, 1, 100, 1], 0.1) is None
    assert straight_part(SIZES, [10 * size for size in SIZES], 0.1) is not None
