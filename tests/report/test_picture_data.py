"""What pictures show is what was measured; the unknown is not shown, and said."""

from __future__ import annotations

from dataclasses import replace

from lightning_profile.records import (
    Ceilings,
    Comparison,
    DeviceUse,
    KernelUse,
    MemoryPart,
    MemoryTable,
    OperatorSums,
    Phase,
    Roofline,
)
from lightning_profile.report.picture_data import picture_data
from tests.report.results import COST, LAYER, comparison, measurement, result

ROOFLINE = Roofline(time_ns=1.0, bound="memory", flop_per_byte=0.5, fraction=0.5, arithmetic="tf32")
CEILINGS = Ceilings(
    flop_per_s={"fp32": 1e12, "tf32": 2e12, "fp16": 4e12}, bytes_per_s=1e9, source="A vendor"
)


def part(kind: str, size: int, operator: str | None = "aten::conv2d") -> MemoryPart:
    return MemoryPart(name="", operator=operator, bytes=size, kind=kind)  # type: ignore[arg-type]


def layers(number: int, **values: object) -> list[Comparison]:
    return [
        comparison(
            layer=replace(LAYER, qualified_name=f"conv{each}", display_name=f"Conv2d-{each}"),
            measured=measurement(
                operator_sums=OperatorSums(
                    counts={f"aten::{each}": 1},
                    cpu_times_ns={f"aten::{each}": 1000 * (each + 1)},
                    device_times_ns=None,
                )
            ),
            **values,
        )
        for each in range(number)
    ]


def of_operators(*names: str) -> Comparison:
    """A row in which each of them ran once, for a microsecond."""
    sums = OperatorSums(
        counts=dict.fromkeys(names, 1),
        cpu_times_ns=dict.fromkeys(names, 1000),
        device_times_ns=None,
    )
    return comparison(measured=measurement(operator_sums=sums))


def test_a_point_is_the_achieved_rate_over_the_intensity() -> None:
    data = picture_data(result(comparison(roofline=ROOFLINE), ceilings=CEILINGS))["roofline"]
    (point,) = data["points"]
    # 1000 FLOP of theory in 2 ms.
    assert (point["flop_per_byte"], point["flop_per_s"]) == (0.5, 500_000)
    assert point["name"] == "Conv2d-2 forward, 2 ms"
    assert "epoch 0, step 14, batch 128, A Processor" in data["conditions"]


def test_only_the_roofs_of_the_arithmetic_that_was_used_are_drawn() -> None:
    reached = replace(CEILINGS, flop_per_s={"tf32": 1e12}, source="measured: a product")
    window = result(comparison(roofline=ROOFLINE), ceilings=CEILINGS, empirical_ceilings=reached)
    roofs = picture_data(window)["roofline"]["roofs"]
    assert [(each["name"], each["flop_per_s"], each["is_empirical"]) for each in roofs] == [
        ("peak: tf32 2 TFLOP/s, 1 GB/s", 2e12, False),
        ("reached: tf32 1 TFLOP/s, 1 GB/s", 1e12, True),
    ]


def test_a_roof_that_was_measured_is_not_called_a_peak() -> None:
    measured = replace(CEILINGS, source="measured: a product")
    data = picture_data(result(comparison(roofline=ROOFLINE), ceilings=measured))["roofline"]
    assert data["roofs"][0]["name"].startswith("reached: ")


def test_a_roofline_without_known_points_is_none_and_missing_ones_are_said() -> None:
    unknown = comparison(roofline=None)
    assert "roofline" not in picture_data(result(unknown))
    without = comparison(cost=replace(COST, flop=0), roofline=ROOFLINE)
    unmeasured = comparison(measured=None, roofline=ROOFLINE)
    data = picture_data(result(comparison(roofline=ROOFLINE), unknown, without, unmeasured))
    assert data["roofline"]["foot"] == [
        "Rows not drawn: 1 of unknown roofline, 1 without products, 1 not measured."
    ]


def test_the_parts_of_memory_add_up_to_what_was_handed_out() -> None:
    parts = (
        part("theory", 1000),
        part("theory", 500, operator=None),  # for which there was no block
        part("rounding", 24),
        part("kept", 30),
        part("temporary", 200),
    )
    table = MemoryTable(parts=parts, measured_bytes=1254, residual_bytes=-500)
    (row,) = picture_data(result(comparison(memory=table)))["memory"]["rows"]
    assert row["parts"] == {
        "of these, allocated": 1000,
        "rounding": 24,
        "other, kept": 30,
        "other, temporary": 200,
    }
    assert sum(row["parts"].values()) == table.measured_bytes
    assert row["outline"] == 1500


def test_memory_of_unknown_parts_is_not_drawn() -> None:
    assert "memory" not in picture_data(result(comparison(memory=None)))
    table = MemoryTable(parts=(part("theory", 8),), measured_bytes=8, residual_bytes=0)
    data = picture_data(result(comparison(memory=table), comparison(memory=None)))["memory"]
    assert data["foot"] == ["Rows not drawn: 1 of unknown parts."]


def test_kernels_are_added_up_by_kind() -> None:
    kernels = tuple(
        KernelUse(name=name, kind=kind, count=1, device_time_ns=time_ns, share=0.1)
        for name, kind, time_ns in (
            ("a", "reduction", 10),
            ("b", "matrix product", 20),
            ("c", "reduction", 30),
        )
    )
    on_device = measurement(device_time_ns=60, on_device=DeviceUse(kernels=kernels))
    graph = measurement(on_device=DeviceUse(launches_graph=True))
    data = picture_data(
        result(
            comparison(measured=on_device),
            comparison(measured=graph, phase=Phase.BACKWARD),
        )
    )["kernels"]
    assert [row["parts"] for row in data["rows"]] == [{"reduction": 40, "matrix product": 20}]
    assert data["kinds"] == ["matrix product", "reduction"]
    assert data["title"] == "Device time by kind of kernel"
    assert data["foot"] == ["Rows not drawn: 1 of unknown time."]


def test_without_a_device_the_longest_operators_are_named_and_the_rest_is_one() -> None:
    data = picture_data(result(*layers(10)))["kernels"]
    assert data["title"] == "CPU time by operator"
    assert data["kinds"] == ["4", "5", "6", "7", "8", "9", "other"]
    assert sum(sum(row["parts"].values()) for row in data["rows"]) == 1000 * 55


def test_what_the_engine_does_around_a_node_is_shown_as_the_nodes() -> None:
    around = "autograd::engine::evaluate_function: "
    names = (f"{around}AddBackward0", "AddBackward0", "aten::add")
    data = picture_data(result(of_operators(*names)))["kernels"]
    assert data["kinds"] == ["AddBackward0", "add"]
    assert [row["parts"] for row in data["rows"]] == [
        {"AddBackward0": 2000, "add": 1000, "other": 0}
    ]


def test_time_within_ranges_that_torch_and_we_mark_is_pythons() -> None:
    names = ("Optimizer.step#SGD.step", "lightning_profile.step 3", "aten::add")
    data = picture_data(result(of_operators(*names)))["kernels"]
    assert data["rows"][0]["parts"] == {"Python between operators": 2000, "add": 1000, "other": 0}


def test_of_many_rows_the_largest_are_drawn_and_the_rest_is_said() -> None:
    data = picture_data(result(*layers(60)))["kernels"]
    assert [row["name"] for row in data["rows"]] == [
        f"Conv2d-{each} forward" for each in range(46, 60)
    ]
    assert data["foot"] == ["46 shorter rows, 1.081 ms together, are not drawn."]


def test_what_is_inside_of_a_container_is_not_drawn_twice() -> None:
    body = replace(LAYER, qualified_name="body", display_name="Body-1", is_container=True)
    model = replace(LAYER, qualified_name="(model)", display_name="Model-1", is_container=True)
    use = of_operators("aten::add")
    rows = [replace(use, layer=each) for each in (model, body, LAYER)]
    data = picture_data(result(*rows))["kernels"]
    assert [row["name"] for row in data["rows"]] == ["Conv2d-2 forward"]
    alone = picture_data(result(rows[1]))["kernels"]
    assert [row["name"] for row in alone["rows"]] == ["Body-1 forward"]
