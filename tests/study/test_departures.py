"""Where values leave their line, and which of the recorded facts is given as the reason."""

from __future__ import annotations

import pytest

from lightning_profile.study.departures import UNEXPLAINED, Departure
from tests.study.made import Formula, analysis

ROW = ("Conv2d-2", "conv2", "forward")


def left(
    name: str, layer: dict[str, Formula], step: dict[str, Formula] | None = None, **row: object
) -> dict[int, Departure]:
    made = analysis(layer, step, row=lambda n: {key: each(n) for key, each in row.items()})  # type: ignore[operator]
    return {each.batch_size: each for each in made.departures[ROW, name]}


def bent(n: int) -> float:
    return 1000 * n * (5 if n == 64 else 1)


def test_a_count_leaves_its_line_by_a_thousandth_and_not_by_less() -> None:
    assert left("counted_flop", {"counted_flop": lambda n: 10**9 * n + (n == 64)}) == {}
    assert 64 in left("counted_flop", {"counted_flop": bent})


def test_a_time_leaves_it_by_a_tenth_unless_a_step_was_as_the_line_says() -> None:
    assert left("cpu_time_ns", {"cpu_time_ns": lambda n: 1000 * n * (1 + 0.05 * (n == 64))}) == {}
    assert 64 in left("cpu_time_ns", {"cpu_time_ns": bent})
    wide = left(
        "cpu_time_ns",
        {"cpu_time_ns": bent},
        ranges=lambda n: {"cpu_time_ns": (0.0, 1e9)},
    )
    assert wide == {}


def test_what_no_theory_has_grow_leaves_no_line() -> None:
    assert left("flop_per_s", {"flop_per_s": bent}) == {}


def test_without_a_reason_none_is_made_up() -> None:
    assert left("cpu_time_ns", {"cpu_time_ns": bent})[64].reason == UNEXPLAINED


def test_rounding_is_the_reason_where_it_is_just_what_is_too_much() -> None:
    layer: dict[str, Formula] = {
        "theoretical_allocated_bytes": lambda n: 100 * n,
        "allocated_bytes": lambda n: -(-100 * n // 512) * 512,
    }
    assert "the allocator's rounding" in left("allocated_bytes", layer)[16].reason
    layer["rounding_bytes"] = lambda _: 7  # the recorded rounding says otherwise
    assert left("allocated_bytes", layer)[16].reason == UNEXPLAINED


def test_segments_are_the_reason_of_reserved_memory_only_in_whole_segments() -> None:
    whole: dict[str, Formula] = {"reserved_bytes": lambda n: 2**21 * (1 if n < 128 else 10)}
    assert "segments of 2.00 MiB" in left("reserved_bytes", whole)[16].reason
    part: dict[str, Formula] = {"reserved_bytes": lambda n: 12345 * (1 if n < 128 else 10)}
    assert left("reserved_bytes", part)[16].reason == UNEXPLAINED


def test_a_workspace_that_jumps_is_the_reason_of_a_peak() -> None:
    layer: dict[str, Formula] = {"peak_allocated_bytes": bent, "workspace_bytes": bent}
    assert "workspace per sample" in left("peak_allocated_bytes", layer)[64].reason
    del layer["workspace_bytes"]
    assert left("peak_allocated_bytes", layer)[64].reason == UNEXPLAINED


@pytest.mark.parametrize("name", ["cpu_time_ns", "counted_flop", "peak_allocated_bytes"])
def test_another_algorithm_is_a_reason_of_everything(name: str) -> None:
    found = left(name, {name: bent}, algorithms=lambda n: ("fft",) if n == 64 else ("gemm",))
    assert "runs `fft` and no longer `gemm`, unlike at batch size 32" in found[64].reason


def test_launches_are_the_reason_of_a_time_where_they_bind_it() -> None:
    found = left(
        "cpu_time_ns", {"cpu_time_ns": bent}, bound=lambda n: "launch" if n == 64 else "memory"
    )
    assert "bound by launches" in found[64].reason
    assert all("launch" not in each.reason for size, each in found.items() if size != 64)


def test_the_other_side_of_the_knee_is_a_reason() -> None:
    found = left(
        "cpu_time_ns", {"cpu_time_ns": bent}, bound=lambda n: "memory" if n <= 64 else "compute"
    )
    assert "below the roofline's knee" in found[64].reason


def test_page_faults_of_the_step_are_a_reason_of_a_layers_time() -> None:
    faults: dict[str, Formula] = {"page_faults": lambda n: 400 * n if n == 64 else 1}
    found = left("cpu_time_ns", {"cpu_time_ns": bent}, faults)
    assert "4e+02 page faults per sample" in found[64].reason
