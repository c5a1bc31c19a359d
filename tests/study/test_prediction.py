"""What small batches say of large ones, and theory of other devices."""

from __future__ import annotations

import pytest

from lightning_profile.devices import CARDS
from lightning_profile.study.point import Point
from lightning_profile.study.prediction import Limit, UnknownLimit
from lightning_profile.study.projection import find_cards, find_knee, merged, project
from tests.study.made import LAYER, SIZES, analysis, point

ROW = ("Conv2d-2", "conv2", "forward")


def test_a_prediction_knows_the_smaller_half_only() -> None:
    made = analysis(step={"wall_time_ns": lambda n: 10 * n if n <= 64 else 10**9})
    (found,) = [each for each in made.predictions if each.series.quantity.name == "wall_time_ns"]
    assert list(found.batch_sizes) == [16, 32, 64]
    assert found.predicted == pytest.approx(2560)
    assert found.measured == 10**9
    assert found.error == pytest.approx(2560 / 1e9 - 1)


def test_a_line_that_falls_predicts_nothing() -> None:
    made = analysis(step={"wall_time_ns": lambda n: 10**6 - n})
    assert "wall_time_ns" not in {each.series.quantity.name for each in made.predictions}


def test_a_largest_batch_without_memory_is_predicted_and_not_measured() -> None:
    made = analysis(extra=[Point(batch_size=4096, status="out of memory")])
    assert {each.batch_size for each in made.predictions} == {4096}
    assert {each.measured for each in made.predictions} == {None}


def test_the_limit_is_where_the_line_of_the_peak_meets_the_memory() -> None:
    limit = analysis().limit
    assert isinstance(limit, Limit)
    assert (limit.batch_size, limit.quantity) == (3584, "peak_tensor_bytes")
    room = limit.capacity_bytes - limit.beside_bytes
    assert limit.line.at(limit.batch_size) <= room < limit.line.at(3585)


def test_the_limit_leaves_room_for_the_most_that_was_held_beside_the_tensors() -> None:
    step = {"peak_resident_bytes": lambda n: 2**20 * n + 2**30 * (2 if n == 64 else 1)}
    limit = analysis(step=step).limit
    assert isinstance(limit, Limit)
    assert (limit.beside_bytes, limit.batch_size) == (2 * 2**30, 2048)


#: Of the MNIST CNN on a CPU: up to 16 samples it is what the optimizer's tensors need.
PEAKS = {8: 14_237_024, 16: 14_237_024, 32: 22_624_472, 64: 40_368_344, 128: 75_856_088}


@pytest.mark.parametrize("sizes", [(8, 16, 32, 64, 128), (16, 32, 64, 128), (64, 128)])
def test_the_limit_is_that_of_how_the_large_batches_grow(sizes: tuple[int, ...]) -> None:
    made = analysis(
        step={"peak_tensor_bytes": PEAKS.__getitem__, "peak_resident_bytes": lambda _: 2**30},
        sizes=sizes,
        machine={"capacity_bytes": 22 * 2**30},
        most_samples=55_000,
    )
    assert isinstance(made.limit, Limit)
    assert made.limit.line.slope == pytest.approx(554_496, rel=1e-3)
    assert made.limit.batch_size == pytest.approx(21 * 2**30 / 554_496, rel=2e-3)


def test_peaks_on_no_straight_line_give_no_limit() -> None:
    bent = analysis(step={"peak_tensor_bytes": lambda n: 2**20 * n * (2 if n == 128 else 1)})
    assert isinstance(bent.limit, UnknownLimit)
    assert list(bent.limit.batch_sizes) == [64, 128, 256]
    assert bent.limit.farthest is not None
    assert bent.limit.farthest.batch_size == 128
    nearly = analysis(step={"peak_tensor_bytes": lambda n: 2**20 * n + 2**21 * (n == 128)})
    assert isinstance(nearly.limit, Limit)
    # Much of the smallest of them, as an allocator's segment may be, and little of the largest.
    segment = analysis(step={"peak_tensor_bytes": lambda n: 2**20 * (n + 20 * (n == 64))})
    assert isinstance(segment.limit, Limit)


@pytest.mark.parametrize("slope", [0, -1])
def test_peaks_that_do_not_rise_give_no_limit(slope: int) -> None:
    step = {"peak_tensor_bytes": lambda n: 2**20 + slope * n}
    limit = analysis(step=step).limit
    assert isinstance(limit, UnknownLimit)
    assert limit.farthest is None


def test_a_trial_is_no_measurement() -> None:
    trial = Point(batch_size=3584, status="finished", is_trial=True)
    made = analysis(extra=[trial])
    assert made.batch_sizes == list(SIZES)
    assert {each.batch_size for each in made.predictions} == {256}


def test_a_name_of_a_family_is_every_card_of_it_and_a_full_name_one() -> None:
    assert [card.name for card in find_cards(["v100"])] == [
        card.name for card in CARDS if card.name.startswith("V100 ")
    ]
    assert [card.name for card in find_cards(["L4", "l4"])] == ["L4"]  # not the L40S


@pytest.mark.parametrize("name", ["V1000", "", "V"])
def test_an_unknown_name_is_answered_with_the_names_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="no device") as raised:
        find_cards([name])
    assert all(card.name in str(raised.value) for card in CARDS)
    assert "\n" not in str(raised.value)


def test_a_projection_is_theory_at_the_cards_peaks() -> None:
    (t4,) = find_cards(["T4"])
    (found,) = [each for each in project([point(16), point(64)], [t4]) if each.row == ROW]
    assert found.arithmetic == "fp32"  # a T4 has no TF32
    compute_ns = {n: 1000 * n / (t4.fp32 * 1e12) * 1e9 for n in (16, 64)}
    memory_ns = {n: 200 * n / (t4.gb_per_s * 1e9) * 1e9 for n in (16, 64)}
    for size, time_ns in found.times_ns.items():
        assert time_ns == pytest.approx(max(compute_ns[size], memory_ns[size]))


def test_a_convolution_runs_in_tf32_where_the_card_has_it_a_product_of_matrices_does_not() -> None:
    cards = find_cards(["A100"])[:1]
    (convolution,) = project([point(16)], cards)
    (matmul,) = project([point(16, row=lambda _: {"product": "matmul"})], cards)
    assert (convolution.arithmetic, matmul.arithmetic) == ("tf32", "fp32")
    grouped = project([point(16, row=lambda _: {"groups": 2})], cards)
    assert grouped == []  # torch's own kernels: which arithmetic can't be told
    assert project([point(16, row=lambda _: {"product": None})], cards) == []


def test_cards_that_differ_in_memory_only_share_a_line() -> None:
    layer = {**LAYER, "theoretical_flop": lambda n: 10**6 * n}
    found = merged(project([point(16, layer)], find_cards(["V100"])))
    assert sorted(names for names, _ in found) == [
        "V100 PCIe 16 GB or V100 PCIe 32 GB",
        "V100 SXM2 16 GB or V100 SXM2 32 GB",
    ]


@pytest.mark.parametrize(
    ("bounds", "knee"),
    [
        ("mmcc", 3),
        ("mccc", 2),
        ("cccc", None),
        ("mmmm", None),
        ("mcmc", 4),
        ("ccmm", None),
    ],
)
def test_the_knee_is_the_last_change_from_memory_to_compute(bounds: str, knee: int | None) -> None:
    words = {"m": "memory", "c": "compute"}
    assert find_knee({size: words[b] for size, b in enumerate(bounds, start=1)}) == knee
