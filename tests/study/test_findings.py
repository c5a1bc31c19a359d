"""Each finding is true of its data: on data that say the opposite it is not there, or says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lightning_profile.study.analysis import Analysis
from lightning_profile.study.findings import FINDINGS, findings
from lightning_profile.study.findings.algorithms import algorithm_changes
from lightning_profile.study.findings.forecasts import (
    largest_fitting,
    out_of_memory,
    predictions,
    projections,
)
from lightning_profile.study.findings.growth import (
    allocated_bytes,
    counted_flop,
    hardware_flop,
    time_growth,
)
from lightning_profile.study.findings.memory import (
    dram_traffic,
    peak_memory,
    reserved_memory,
    resident_memory,
    workspace_thresholds,
)
from lightning_profile.study.findings.surroundings import (
    failed_points,
    interruptions,
    several_devices,
)
from lightning_profile.study.findings.time import (
    cheapest_batch,
    distance_from_empirical_roofline,
    distance_from_roofline,
    launch_bound,
    page_faults,
    roofline_knee,
)
from lightning_profile.study.point import Point
from lightning_profile.study.projection import find_cards
from tests.study.made import analysis, point

PLAIN = analysis()


def test_every_finding_is_in_the_list_of_findings() -> None:
    listed = {each.__name__ for each in FINDINGS}
    assert listed == {
        name
        for name, each in globals().items()
        if callable(each)
        and getattr(each, "__module__", "").startswith("lightning_profile.study.findings.")
    }


def test_flop_on_theorys_line_are_said_to_be() -> None:
    (sentence,) = counted_flop(PLAIN)
    assert "lie on theory's straight line exactly" in sentence
    assert "1,000 FLOPs per sample" in sentence


def test_flop_off_a_line_are_said_to_be() -> None:
    (sentence,) = counted_flop(analysis({"counted_flop": lambda n: 1000 * n + 500 * (n == 64)}))
    assert "do not lie on a straight line" in sentence
    assert "farthest from theory, at batch size 64, are 0.8% above it" in sentence


def test_flop_on_another_line_than_theorys_are_said_to_be() -> None:
    (sentence,) = counted_flop(analysis({"counted_flop": lambda n: 1970 * n}))
    assert "1.97 times theory's" in sentence
    assert "theory's straight line" not in sentence


def test_executed_flop_are_spoken_of_where_there_are_counters_only() -> None:
    assert hardware_flop(PLAIN) == []
    (sentence,) = hardware_flop(analysis({"hardware_flop": lambda n: 500 * n}))
    assert "the hardware executed" in sentence
    assert "0.5 times theory's" in sentence


def test_allocated_bytes_as_in_theory_or_not() -> None:
    (sentence,) = allocated_bytes(PLAIN)
    assert "to the byte" in sentence
    (sentence,) = allocated_bytes(analysis({"allocated_bytes": lambda n: 512 * n + (n == 32)}))
    assert "differs from theory at batch size 32, by 1 B" in sentence
    assert sentence.endswith("of it).")  # what it is was not recorded


def test_what_is_allocated_beside_theory_is_named_where_it_is_all_of_it() -> None:
    layer = {
        "allocated_bytes": lambda n: 512 * n + 100 + 4096 * (n == 32),
        "rounding_bytes": lambda _: 100,
        "other_kept_bytes": lambda n: 4096 * (n == 32),
    }
    (sentence,) = allocated_bytes(analysis(layer))
    assert "it is the allocator's rounding to whole blocks and what is kept beside" in sentence
    layer["allocated_bytes"] = lambda n: 512 * n + 100
    layer["other_kept_bytes"] = lambda _: 0
    (sentence,) = allocated_bytes(analysis(layer))
    assert sentence.endswith("it is the allocator's rounding to whole blocks.")
    layer["rounding_bytes"] = lambda n: 100 + (n == 64)  # recorded otherwise at one of them
    (sentence,) = allocated_bytes(analysis(layer))
    assert sentence.endswith("of it).")
    assert "to the byte" not in sentence


def test_time_on_a_line_or_off_it() -> None:
    step, layer = time_growth(PLAIN)
    assert "wall time of the training step grows in a straight line, within a tenth" in step
    assert "5 µs per sample and 20 µs whatever the batch size" in layer
    bent = analysis({"cpu_time_ns": lambda n: 1000 * n * (10 if n > 64 else 1)})
    _, layer = time_growth(bent)
    assert "does not grow in one straight line" in layer
    assert "Up to batch size 64 it is straight (1 µs per sample); at 128 it is 10 times" in layer


def test_a_workspace_that_jumps_is_a_threshold_and_a_constant_part_is_none() -> None:
    assert workspace_thresholds(PLAIN) == []
    jumping = analysis({"workspace_bytes": lambda n: (256 if n < 128 else 4096) * n})
    (sentence,) = workspace_thresholds(jumping)
    assert "jumps between batch size 64 and 128" in sentence
    assert sentence.endswith("4.00 KiB, at batch size 64 256 B.")


def test_the_operator_that_makes_a_workspace_jump_is_named_and_no_other() -> None:
    def temporary(n: int) -> dict[str, int]:
        return {"aten::always": 256 * n, "aten::large": 1024 * n * (n > 64)}

    made = analysis(
        {"workspace_bytes": lambda n: sum(temporary(n).values())},
        row=lambda n: {"temporary_bytes": temporary(n)},
    )
    (sentence,) = workspace_thresholds(made)
    assert sentence.endswith(
        "1.25 KiB, at batch size 64 256 B, by what `aten::large` allocates and frees."
    )


def test_a_workspace_that_is_there_at_one_batch_size_only_jumps_twice() -> None:
    made = analysis({"workspace_bytes": lambda n: n * (5000 if n == 64 else 256)})
    assert [each.split(":")[0] for each in workspace_thresholds(made)] == [
        "The workspace of Conv2d-2 forward jumps between batch size 32 and 64",
        "The workspace of Conv2d-2 forward jumps between batch size 64 and 128",
    ]


def test_peaks_on_a_line_or_off_it() -> None:
    assert peak_memory(PLAIN) == [
        "The peak of a step's tensors grows in a straight line exactly (R² = 1): 1.00 MiB per "
        "sample."
    ]
    (sentence,) = peak_memory(
        analysis(step={"peak_tensor_bytes": lambda n: 2**20 * n * (1 + (n == 64))})
    )
    assert "does not grow in a straight line" in sentence
    assert "by the most at 64: 128.00 MiB" in sentence
    (sentence,) = peak_memory(
        analysis(step={"peak_tensor_bytes": lambda n: 2**20 * n + 2**19 * (n == 16)})
    )
    assert "grows nearly in a straight line" in sentence
    assert "at batch size 16, where it is farthest from it, it is 1.9% above it" in sentence
    (sentence,) = peak_memory(analysis(step={"peak_tensor_bytes": lambda n: 2**20 * n + n % 32}))
    assert "in a straight line to a thousandth" in sentence


def test_resident_memory_has_its_least_and_its_most() -> None:
    (sentence,) = resident_memory(analysis(step={"peak_resident_bytes": lambda n: 2**40 // n}))
    assert "between 4.00 GiB, at batch size 256, and 64.00 GiB, at batch size 16" in sentence


def test_dram_traffic_is_held_against_the_compulsory_where_it_was_counted() -> None:
    assert dram_traffic(PLAIN) == []
    reads = {"dram_read_bytes": lambda n: 300 * n}
    assert dram_traffic(analysis(reads)) == []  # without the writes no sum
    counted = reads | {"dram_write_bytes": lambda n: 100 * n * (3 if n == 256 else 1)}
    (sentence,) = dram_traffic(analysis(counted))
    assert "2 times at batch size 16" in sentence
    assert "3 times at batch size 256" in sentence


def test_reserved_memory_is_spoken_of_on_a_gpu_only() -> None:
    assert reserved_memory(PLAIN) == []
    step: dict[str, Any] = {
        "peak_allocated_bytes": lambda n: 2**20 * n,
        "peak_reserved_bytes": lambda n: 2**20 * n + 2**22,
    }
    (sentence,) = reserved_memory(analysis(step=step))
    assert "in segments of 2.00 MiB and more: at batch size 16 4.00 MiB of 20.00 MiB" in sentence
    step["peak_reserved_bytes"] = lambda n: 2**20 * n + 1
    (sentence,) = reserved_memory(analysis(step=step))
    assert "segments" not in sentence


def test_another_algorithm_is_named_with_where_it_begins() -> None:
    assert algorithm_changes(PLAIN) == []
    changed = analysis(row=lambda n: {"algorithms": ("fft" if n >= 64 else "gemm",)})
    (sentence,) = algorithm_changes(changed)
    assert "between batch size 32 and 64, by the names of what ran: it runs `fft` and" in sentence


def test_page_faults_are_named_with_where_they_are() -> None:
    assert page_faults(PLAIN) == []
    faulting = analysis(step={"page_faults": lambda n: 400 * n if n > 64 else 1})
    (sentence,) = page_faults(faulting)
    assert (
        "per sample 400 at batch size 128 and 400 at batch size 256, and next to none" in sentence
    )


def bounds(**by_size: str) -> Analysis:
    return analysis(row=lambda n: {"bound": by_size[f"n{n}"]})


def test_launch_bound_up_to_a_batch_size() -> None:
    assert launch_bound(PLAIN) == []
    some = bounds(n16="launch", n32="launch", n64="memory", n128="compute", n256="compute")
    (sentence,) = launch_bound(some)
    assert "up to batch size 32:" in sentence
    (sentence,) = launch_bound(analysis(row=lambda _: {"bound": "launch"}))
    assert "at every batch size" in sentence
    odd = bounds(n16="compute", n32="launch", n64="compute", n128="launch", n256="compute")
    (sentence,) = launch_bound(odd)
    assert "at batch sizes 32 and 128" in sentence


def test_the_knee_is_where_the_bound_turns_from_memory_to_compute() -> None:
    (sentence,) = roofline_knee(PLAIN)
    assert "has no knee within these batch sizes: the bound is arithmetic" in sentence
    turning = bounds(n16="launch", n32="memory", n64="memory", n128="compute", n256="compute")
    (sentence,) = roofline_knee(turning)
    assert "knee at batch size 128" in sentence
    back = bounds(n16="memory", n32="compute", n64="memory", n128="compute", n256="memory")
    assert roofline_knee(back) == []


def test_the_cheapest_batch_is_named_unless_all_cost_the_same() -> None:
    (sentence,) = cheapest_batch(analysis(step={"wall_time_ns": lambda n: 100 * n + 6400}))
    assert "the least time, 125 ns of the step, at batch size 256; it takes 4 times" in sentence
    (sentence,) = cheapest_batch(analysis(step={"wall_time_ns": lambda n: 100 * n}))
    assert "about the same time" in sentence
    (sentence,) = cheapest_batch(analysis(step={"wall_time_ns": lambda n: n * n}))
    assert "at batch size 16; it takes 16 times that at batch size 256" in sentence


def test_the_distance_from_the_roofline_has_its_nearest_and_its_farthest() -> None:
    (sentence,) = distance_from_roofline(PLAIN)
    assert "6.25 times its roofline's time at batch size 16" not in sentence.split(",")[0]
    assert "6.25 times at 16, where it is farthest" in sentence
    (sentence,) = distance_from_roofline(analysis({"cpu_time_ns": lambda n: n * n * 1000}))
    assert "takes 16 times its roofline's time at batch size 16, where it is nearest" in sentence
    assert distance_from_roofline(analysis({"roofline_time_ns": lambda _: 0})) == []
    cached = analysis({"cpu_time_ns": lambda n: n * 1000 * (0.5 if n == 16 else 0.9)})
    (sentence,) = distance_from_roofline(cached)
    assert "takes 0.9 times its roofline's time at batch size 32, where it is nearest" in sentence
    assert "0.5 times at 16, where it is farthest" in sentence
    assert distance_from_empirical_roofline(PLAIN) == []
    measured = analysis({"empirical_roofline_time_ns": lambda n: 2500 * n})
    (sentence,) = distance_from_empirical_roofline(measured)
    assert "2.5 times at 16, where it is farthest" in sentence


def test_a_prediction_says_how_far_off_it_is_and_in_which_direction() -> None:
    memory, time = predictions(PLAIN)
    assert memory.endswith("at batch size 256, and so much was measured.")
    assert "predicts 5.22 ms for the wall time at batch size 256, and so much" in time
    late = analysis(step={"wall_time_ns": lambda n: 1000 * n * (2 if n == 256 else 1)})
    assert "50% too low" in predictions(late)[1]
    early = analysis(step={"wall_time_ns": lambda n: 1000 * n / (2 if n == 256 else 1)})
    assert "100% too high" in predictions(early)[1]


OUT = Point(batch_size=512, status="out of memory", requested_bytes=3 * 2**30)


def test_a_batch_that_ran_out_of_memory_is_named_with_what_it_asked_for() -> None:
    assert out_of_memory(PLAIN) == []
    full = analysis(extra=[OUT])
    assert out_of_memory(full) == [
        "Batch size 512 ran out of memory, as it asked for 3.00 GiB more."
    ]
    assert "could not be measured" in predictions(full)[0]
    unknown = analysis(extra=[replace(OUT, requested_bytes=None)])
    assert "is unknown" in out_of_memory(unknown)[0]


def test_the_largest_batch_that_should_fit_and_whether_it_did() -> None:
    # 4 GiB less half a GiB, at a MiB per sample.
    (sentence,) = largest_fitting(PLAIN)
    assert sentence.startswith(
        "By the straight line through the peak of a step's tensors at batch sizes 64, 128 and 256, "
        "beside which the process held at most 512.00 MiB, "
    )
    assert "up to 3,584 samples should fit in the 4.00 GiB" in sentence
    assert "not tried" in sentence
    for status, words in (("finished", "and fits"), ("out of memory", "and ran out of memory")):
        trial = Point(batch_size=3584, status=status, is_trial=True)  # type: ignore[arg-type]
        (sentence,) = largest_fitting(analysis(extra=[trial]))
        assert words in sentence
        assert "not tried" not in sentence
    (sentence,) = largest_fitting(analysis(most_samples=1000))
    assert "all 1,000 training samples should fit" in sentence
    assert largest_fitting(analysis(machine={"capacity_bytes": None})) == []
    reserved = analysis(step={"peak_reserved_bytes": lambda n: 2**21 * n})
    (sentence,) = largest_fitting(reserved)
    assert "the peak reserved at batch sizes 64, 128 and 256, batches of up to 2,048" in sentence
    (sentence,) = largest_fitting(analysis(sizes=(16, 32, 64)))
    assert "at batch sizes 32 and 64, which are too few to tell whether it is one, " in sentence


def test_where_the_peaks_tell_of_no_largest_batch_a_sentence_says_why() -> None:
    assert largest_fitting(analysis(step={"peak_tensor_bytes": lambda _: 2**20})) == [
        "How large a batch fits can't be told: the peak of a step's tensors at batch sizes 64, 128 "
        "and 256 does not rise."
    ]
    bent = {"peak_tensor_bytes": lambda n: 2**20 * n * (2 if n == 128 else 1)}
    (sentence,) = largest_fitting(analysis(step=bent))
    assert "lies on no straight line: at 128 it is 256.00 MiB, on the line 173.71 MiB" in sentence


def test_a_projection_is_called_one() -> None:
    assert projections(PLAIN) == []
    (sentence,) = projections(analysis(project_to=find_cards(["T4"])))
    assert sentence.startswith("Projection, not measured: ")
    assert "on T4 (fp32" in sentence


def test_points_of_several_devices_are_not_compared_in_silence() -> None:
    assert several_devices(PLAIN) == []
    other = point(512, machine={"device": "Another"})
    (sentence,) = several_devices(analysis(extra=[other]))
    assert sentence.startswith("Not comparable")
    assert "batch size 512 on Another" in sentence


def test_a_interruptions_is_named_and_an_idle_one_is_not() -> None:
    assert interruptions(PLAIN) == []
    idle = analysis(step={"wall_time_ns": lambda _: 1e9, "interruptions": lambda _: 3})
    assert interruptions(idle) == []
    busy = {"wall_time_ns": lambda _: 1e9, "interruptions": lambda n: 400 * (n == 64)}
    (sentence,) = interruptions(analysis(step=busy))
    assert sentence.startswith("At batch size 64 a thread of the training had to leave its CPU")


def test_no_finding_about_times_is_drawn_from_disturbed_points() -> None:
    # As a machine that did other things at the smallest batch size had them.
    wall = {8: 76e6, 16: 15e6, 32: 25e6, 64: 45e6, 128: 85e6}
    step = {"wall_time_ns": wall.__getitem__, "interruptions": lambda n: 70 * (n == 8)}
    layer = {"cpu_time_ns": lambda n: 5000 * n * (90 if n == 8 else 1)}
    made = analysis(layer, step, sizes=tuple(wall))
    whole, conv = time_growth(made)
    assert "grows in a straight line, within a tenth or what its steps scatter" in whole
    assert "5 µs per sample and 0 ns whatever the batch size" in conv
    assert "batch size 8" not in "".join([*cheapest_batch(made), *distance_from_roofline(made)])
    assert "line predicts 85 ms for the wall time at batch size 128" in predictions(made)[1]
    step["interruptions"] = lambda n: 70 * (n == 128)
    assert "wall time" not in "".join(predictions(analysis(step=step, sizes=tuple(wall))))


def test_with_too_few_undisturbed_points_there_is_no_finding_about_times() -> None:
    step = {"wall_time_ns": lambda n: n * 10**6, "interruptions": lambda n: n * (n > 16)}
    made = analysis(step=step, sizes=(16, 32, 64), row=lambda _: {"bound": "launch"})
    (sentence,) = interruptions(made)
    assert "At batch sizes 32 and 64 a thread" in sentence
    assert sentence.endswith(
        "No finding about times is drawn from them, and the others are too few for any."
    )
    (of_all,) = interruptions(analysis(step=step, sizes=(32, 64)))
    assert of_all.endswith("No finding about times is drawn from them.")  # there are no others
    for find in (time_growth, cheapest_batch, distance_from_roofline):
        assert find(made) == []
    assert "time" not in "".join(predictions(made))


def test_where_a_disturbed_host_was_late_nothing_is_said_of_launches() -> None:
    busy = {"wall_time_ns": lambda _: 1e9, "interruptions": lambda n: 400 * (n > 64)}
    made = analysis(step=busy, row=lambda n: {"bound": "launch" if n > 64 else "compute"})
    assert launch_bound(made) == []


def test_memory_and_counts_of_a_disturbed_point_are_as_good_as_any() -> None:
    busy = {"wall_time_ns": lambda _: 1e9, "interruptions": lambda _: 400}
    assert counted_flop(analysis(step=busy)) == counted_flop(PLAIN)
    assert peak_memory(analysis(step=busy)) == peak_memory(PLAIN)
    assert largest_fitting(analysis(step=busy)) == largest_fitting(PLAIN)


def test_time_that_does_not_grow_is_no_straight_line() -> None:
    (_, layer) = time_growth(analysis({"cpu_time_ns": lambda n: 10**6 - n}))
    assert "does not grow with the batch: it is between 999.7 µs and 1000 µs" in layer
    assert "straight" not in layer


def test_a_point_that_failed_is_missing_and_says_why() -> None:
    assert failed_points(PLAIN) == []
    failed = Point(batch_size=512, status="failed", message="ZeroDivisionError: at all")
    assert failed_points(analysis(extra=[failed])) == [
        "Batch size 512 is missing: ZeroDivisionError: at all."
    ]


@pytest.mark.parametrize("sizes", [(16,), (16, 32)])
def test_few_points_give_no_sentence_about_straightness(sizes: tuple[int, ...]) -> None:
    sentences = findings(analysis(sizes=sizes))
    assert not [each for each in sentences if "straight line exactly" in each or "R²" in each]
