from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from lightning_profile.records import (
    DeviceUse,
    KernelKind,
    KernelUse,
    Layer,
    MemoryKind,
    MemoryPart,
    MemoryTable,
    Phase,
    Roofline,
)
from lightning_profile.report.console import format_tables
from lightning_profile.report.derivation import format_derivation
from lightning_profile.report.overview import conditions
from lightning_profile.report.units import (
    format_bytes,
    format_exact,
    format_flop,
    format_rate,
    format_ratio,
    format_time,
)
from tests.report.results import LAYER, comparison, measurement, result


def test_units_are_scaled_and_named() -> None:
    assert format_flop(2_717_908_992) == "2.718 GFLOP"
    assert format_flop(0) == "0 FLOP"
    assert format_rate(306.2e9) == "306.2 GFLOP/s"
    assert format_bytes(18_874_368) == "18.00 MiB"
    assert format_bytes(1023) == "1023 B"
    assert format_bytes(2**60) == "1048576.00 TiB"
    assert format_time(8_874_649) == "8.875 ms"
    assert format_time(2.5e9) == "2.5 s"
    assert format_time(0) == "0 ns"
    assert format_ratio(1) == "1.000"
    assert format_exact(2_717_908_992, "FLOP") == "2,717,908,992 FLOP"
    assert format_exact(24, "") == "24"


def test_the_unknown_is_called_unknown() -> None:
    formats = (format_flop, format_rate, format_bytes, format_time, format_ratio)
    assert {each(None) for each in formats} == {"unknown"}


def test_a_derivation_shows_symbols_numbers_and_value() -> None:
    (derivation,) = result().derivations
    text = format_derivation(derivation)
    assert "### Conv2d-2 (`body.conv2`)" in text
    assert "128×2×8×8 → 128×3×6×6, float32" in text
    assert "FLOPs = 2 · N\n      = 2 · 500\n      = 1,000 FLOP" in text


def shown(*comparisons: object) -> str:
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as capture:
        for table in format_tables(result(*comparisons)):  # type: ignore[arg-type]
            console.print(table)
    return capture.get()


def line_of(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"│   {start}")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_table_shows_theory_beside_measurement_with_units() -> None:
    text = shown()
    assert line_of(text, "FLOPs of products") == [
        "FLOPs of products",
        "1 kFLOP",
        "1 kFLOP",
        "",
        "1.000",
    ]
    assert line_of(text, "allocated") == ["allocated", "4.00 KiB", "", "8.00 KiB", "2.000"]
    assert line_of(text, "CPU time")[3] == "2 ms"
    assert line_of(text, "achieved rate")[3] == "500 kFLOP/s"
    assert line_of(text, "gradients") == ["gradients", "228 B", "", "114 B", "0.500"]
    assert line_of(text, "optimizer state") == [
        "optimizer state",
        "unknown",
        "",
        "464 B",
        "unknown",
    ]
    for words in ("128 samples", "mnist, or so data", "A Processor", "median of 3 steps"):
        assert words in " ".join(text.split())
    assert "device time" not in text


def test_the_table_shows_device_time_where_there_is_one() -> None:
    assert (
        line_of(shown(comparison(measured=measurement(device_time_ns=56_000))), "device time")[3]
        == "56 µs"
    )


def test_the_table_shows_the_roofline_and_what_bounds_the_time() -> None:
    roofline = Roofline(time_ns=14_000.0, bound="memory", flop_per_byte=0.5, fraction=0.25)
    measured = measurement(device_time_ns=56_000, wall_time_ns=2_000_000)
    text = shown(replace(comparison(measured=measured), roofline=roofline))
    assert line_of(text, "time, roofline")[1:] == ["14 µs", "", "56 µs", "0.250"]
    assert line_of(text, "bound by")[3] == "launch"
    assert line_of(text, "wall time")[3] == "2 ms"
    assert "roofline" not in shown(comparison())


def test_the_table_says_what_kind_of_kernels_took_the_device_time() -> None:
    uses: list[tuple[str, KernelKind, float]] = [
        ("gemm_a", "matrix product", 0.4),
        ("gemm_b", "matrix product", 0.21),
        ("nchwToNhwc", "layout conversion", 0.29),
        ("sum", "reduction", 0.1),
    ]
    kernels = tuple(
        KernelUse(name=name, kind=kind, count=1, device_time_ns=1, share=share)
        for name, kind, share in uses
    )
    use = DeviceUse(kernels=kernels, grad_weight_device_time_ns=2_000)
    text = shown(comparison(measured=measurement(device_time_ns=9_000, on_device=use)))
    line = "Of the forward's device time: 61% matrix product, 29% layout conversion, 10% reduction."
    assert line in " ".join(text.split())
    assert line_of(text, "  grad_weight products")[3] == "2 µs"
    assert "grad_input's" not in text


def test_the_table_lists_all_that_was_allocated() -> None:
    parts: list[tuple[str, str | None, int, MemoryKind]] = [
        ("output", "aten::conv2d", 4096, "theory"),
        ("padded input", None, 1024, "theory"),
        ("output", "aten::conv2d", 100, "rounding"),
        ("", "aten::_to_copy", 512, "kept"),
        ("", "", 8, "temporary"),
    ]
    memory = MemoryTable(
        parts=tuple(
            MemoryPart(name=name, operator=operator, bytes=size, kind=kind)
            for name, operator, size, kind in parts
        ),
        measured_bytes=4716,
        residual_bytes=-1024,
    )
    text = shown(comparison(memory=memory))
    assert line_of(text, "memory handed out")[3] == "4.61 KiB"
    assert line_of(text, "  output")[1:4] == ["4.00 KiB", "", "4.00 KiB"]
    assert line_of(text, "  padded input")[1:4] == ["1.00 KiB", "", "0 B"]
    assert line_of(text, "of which also kept")[3] == "512 B"
    assert line_of(text, "  _to_copy")[3] == "512 B"
    assert line_of(text, "of which temporary")[3] == "8 B"
    assert line_of(text, "  Python")[3] == "8 B"
    assert line_of(text, "  rounding")[3] == "100 B"
    assert line_of(text, "  residual")[3] == "-1.00 KiB"


def test_the_table_says_why_something_is_unknown() -> None:
    text = shown(
        comparison(cost=None, note="no theory for Conv2d"),
        comparison(phase=Phase.BACKWARD, cost=None, measured=None, note="did not run"),
    )
    assert "(no theory for Conv2d)" in text
    assert "(did not run)" in text
    assert line_of(text, "FLOPs of products")[1:] == ["unknown", "1 kFLOP", "", "unknown"]


def test_many_layers_are_one_table_with_a_total_that_counts_nothing_twice() -> None:
    nested = replace(measurement().own, counted_flop=0, cpu_time_ns=0)
    rows = [comparison(layer=layer) for layer in layers(4)]
    rows.append(comparison(layer=LAYER, measured=measurement(own=nested), note="why; and so"))
    rows.append(comparison(layer=None, phase=None, cost=None))
    text = shown(*rows)
    assert len([line for line in text.splitlines() if line.lstrip().startswith("Conv2d-2")]) == 5
    (total,) = [line.split() for line in text.splitlines() if line.strip().startswith("total")]
    assert total == ["total", "5", "kFLOP", "10", "ms"]
    assert "rest-of-step" in text
    assert "20.0%" in text
    assert "A container's row" not in text
    assert "· why (Conv2d-2 forward)" in text
    assert "· and so (Conv2d-2 forward)" in text


def test_the_caption_says_what_the_times_are_of_and_which_rows_are_sums() -> None:
    body = replace(LAYER, is_container=True)
    text = " ".join(shown(*[comparison(layer=each) for each in (body, *layers(4))]).split())
    assert "Times are the median of 3 steps." in text
    assert conditions(result(steps=(12,))).endswith("Times are of one step.")
    assert "FLOPs are those of products." in text
    assert "A container's row sums what ran inside of it" in text


def layers(number: int) -> list[Layer]:
    return [replace(LAYER, qualified_name=f"body.{each}") for each in range(number)]


def test_a_note_of_many_rows_names_the_first_of_them() -> None:
    rows = [comparison(layer=layer, note="why") for layer in layers(5)]
    text = " ".join(shown(*rows).split())
    named = ", ".join(["Conv2d-2 forward"] * 3)
    assert f"· why ({named} and 2 more rows)" in text
