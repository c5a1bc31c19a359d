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


def test_a_disturbed_time_is_off_the_line_of_the_others_and_bends_it_not() -> None:
    step: dict[str, Formula] = {
        "wall_time_ns": lambda _: 1e9,
        "interruptions": lambda n: 400 * (n == 64),
    }
    found = left("cpu_time_ns", {"cpu_time_ns": bent}, step)
    assert list(found) == [64]
    assert found[64].on_line == pytest.approx(64_000)
    assert found[64].reason == "disturbed: threads often had to leave their CPU"
    assert 16 in left("counted_flop", {"counted_flop": bent}, step)  # no clock gave it


def test_rounding_is_the_reason_where_it_is_just_what_is_too_much() -> None:
    layer: dict[str, Formula] = {
        "theoretical_allocated_bytes": lambda n: 100 * n,
        "allocated_bytes": lambda n: -(-100 * n // 512) * 512,
    }
    assert left("allocated_bytes", layer)[16].reason == UNEXPLAINED  # nothing was recorded
    layer["rounding_bytes"] = lambda n: -(-100 * n // 512) * 512 - 100 * n
    rounding = "the allocator's rounding to whole blocks, 448 B"
    assert left("allocated_bytes", layer)[16].reason == rounding
    layer["rounding_bytes"] = lambda _: 7  # the recorded rounding says otherwise
    assert left("allocated_bytes", layer)[16].reason == UNEXPLAINED


def test_what_is_kept_beside_theorys_tensors_is_a_reason() -> None:
    layer: dict[str, Formula] = {
        "theoretical_allocated_bytes": lambda n: 100 * n,
        "allocated_bytes": lambda n: 100 * n + 4096 * (n == 64),
        "rounding_bytes": lambda _: 0,
        "other_kept_bytes": lambda n: 4096 * (n == 64),
    }
    found = left("allocated_bytes", layer)
    assert found[64].reason == "kept beside theory's tensors, 4.00 KiB"
    assert found[16].reason == UNEXPLAINED


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
    assert found[64].reason == (
        "400 page faults per sample of the step, at batch size 256 next to none"
    )
    faults["page_faults"] = lambda n: 400 * n if n == 256 else 1
    found = left("cpu_time_ns", {"cpu_time_ns": bent}, faults)
    assert found[64].reason == (
        "next to no page faults, at batch size 256 400 per sample of the step"
    )


def test_names_of_kernels_keep_the_tiles_and_lose_the_arguments() -> None:
    def names(n: int) -> tuple[str, ...]:
        tile = "256x64" if n == 64 else "128x64"
        return ("shared", f"void ns::Kernel<{'x' * 60}_{tile}_stage4>(ns::Params)")

    found = left("cpu_time_ns", {"cpu_time_ns": bent}, algorithms=names)
    assert f"runs `ns::Kernel<{'x' * 60}_256x64_stage4>` and no longer `ns::" in found[64].reason
    assert "Params" not in found[64].reason
    assert "shared" not in found[64].reason
