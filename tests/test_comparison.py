from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from lightning_profile.comparison import compare, steps_of_one_batch_size, sum_costs
from lightning_profile.comparison.notes import (
    CUDA_GRAPH,
    NO_COUNT,
    NO_OPTIMIZER,
    NOT_RECORDED,
    NOT_RUN,
    OTHER_SHAPES,
    OWN_PRODUCTS,
    SOME_STEPS,
)
from lightning_profile.records import (
    Call,
    Cost,
    CostedCall,
    DeviceUse,
    Layer,
    Measurement,
    OperatorSums,
    Phase,
    TensorFact,
    Work,
)


def layer(name: str, module: nn.Module, **values: Any) -> Layer:
    type_name = type(module).__name__
    return Layer(
        qualified_name=name,
        display_name=f"{type_name}-1",
        type_name=type_name,
        module=module,
        entry=module,
        **values,
    )


LAYER = layer("conv", nn.Conv2d(1, 1, 1))
CALL = Call(
    layer="conv",
    inputs=(TensorFact(name="input", shape=(2, 1), dtype=torch.float32, requires_grad=True),),
    outputs=(TensorFact(name="", shape=(2, 1), dtype=torch.bfloat16, requires_grad=True),),
)
COST = Cost(flop=10, elementwise_flop=1, read_bytes=2, write_bytes=3, allocated_bytes=4)
COSTS = {Phase.FORWARD: COST, Phase.GRAD_INPUT: COST, Phase.GRAD_WEIGHT: COST}
COSTED = CostedCall(call=CALL, costs=COSTS)
WORK = Work(
    counted_flop=10,
    counted_elementwise_flop=None,
    cpu_time_ns=5,
    device_time_ns=None,
    kernels=None,
)


def measured(**values: Any) -> Measurement:
    defaults: dict[str, Any] = {
        "layer": "conv",
        "phase": Phase.FORWARD,
        "step": 0,
        "calls": (0,),
        "counted_flop": 10,
        "counted_elementwise_flop": None,
        "cpu_time_ns": 5,
        "device_time_ns": None,
        "kernels": None,
        "own": WORK,
        "allocated_bytes": 8,
        "workspace_bytes": 0,
        "peak_allocated_bytes": 8,
        "reserved_bytes": None,
    }
    merged = defaults | values
    return Measurement(**({"calls_inside": merged["calls"]} | merged))


def test_the_commonest_batch_size_is_compared_and_the_earlier_of_two() -> None:
    assert steps_of_one_batch_size({10: 8, 11: 8, 12: 3}) == [10, 11]
    assert steps_of_one_batch_size({10: 3, 11: 8, 12: 8}) == [11, 12]
    assert steps_of_one_batch_size({10: 8, 11: 3}) == [10]
    assert steps_of_one_batch_size({}) == []


def test_steps_of_one_batch_size_but_other_shapes_are_not_mixed() -> None:
    calls = [
        CostedCall(
            call=replace(CALL, step=step, outputs=(replace(CALL.outputs[0], shape=shape),)),
            costs=COSTS,
        )
        for step, shape in enumerate(((8,), (12,), (12,)))
    ]
    rows = [measured(step=step, calls=(step,), cpu_time_ns=step) for step in range(3)]
    forward, _ = compare([LAYER], calls, rows, [0, 1, 2])
    assert (forward.steps, forward.note) == (2, OTHER_SHAPES.format(3, 2))


def test_a_layer_of_some_steps_says_so() -> None:
    forward, _ = compare([LAYER], [COSTED], [measured()], [0, 1, 2])
    assert (forward.steps, forward.note) == (1, SOME_STEPS.format(1, 3))


def test_theory_of_the_backward_is_that_of_the_calls_whose_backward_ran() -> None:
    calls = [COSTED, replace(COSTED, call=replace(CALL, index=1))]
    rows = [measured(calls=(0, 1)), measured(phase=Phase.BACKWARD, calls=(1,))]
    forward, backward = compare([LAYER], calls, rows, [0])
    assert forward.cost is not None
    assert backward.cost is not None
    assert (forward.calls, forward.cost.flop) == (2, 20)
    assert (backward.calls, backward.cost.flop) == (1, 20)


def test_a_recomputed_forward_is_a_row_of_its_own() -> None:
    calls = [COSTED, replace(COSTED, call=replace(CALL, phase=Phase.RECOMPUTE))]
    rows = [measured(), measured(phase=Phase.RECOMPUTE, calls=(1,), counted_flop=13)]
    forward, recompute, _ = compare([LAYER], calls, rows, [0])
    assert recompute.phase is Phase.RECOMPUTE
    assert (forward.calls, recompute.calls) == (1, 1)
    assert forward.cost == recompute.cost
    assert (forward.flop_ratio, recompute.flop_ratio) == (1.0, 1.3)


def test_an_unknown_count_names_the_operators() -> None:
    rows = [measured(counted_flop=None, uncounted=("aten::_fft_r2c", "mine::op"))]
    forward, _ = compare([LAYER], [COSTED], rows, [0])
    assert forward.note == NO_COUNT.format("aten::_fft_r2c, mine::op")


def test_casts_are_named() -> None:
    casts = (("float32 to bfloat16", 2), ("bfloat16 to float32", 1))
    forward, _ = compare([LAYER], [COSTED], [measured(casts=casts)], [0])
    assert forward.note == "includes casts: 2 × float32 to bfloat16, 1 × bfloat16 to float32"


def test_times_are_the_median_and_only_of_the_steps_asked_for() -> None:
    rows = [
        measured(
            step=step,
            calls=(step,),
            cpu_time_ns=time,
            own=replace(WORK, cpu_time_ns=10 * time),
        )
        for step, time in enumerate((5, 100, 7, 1))
    ]
    calls = [replace(COSTED, call=replace(CALL, step=step)) for step in range(4)]
    forward, _ = compare([LAYER], calls, rows, [0, 1, 2])
    assert (forward.steps, forward.calls, forward.dtype) == (3, 1, torch.bfloat16)
    assert forward.measured is not None
    assert forward.measured.cpu_time_ns == 7
    assert forward.measured.own.cpu_time_ns == 70
    assert forward.time_ns == 7
    assert forward.flop_per_s == pytest.approx(10 / 7e-9)
    assert (forward.flop_ratio, forward.allocated_ratio) == (1.0, 2.0)


def test_device_time_is_preferred_for_the_rate() -> None:
    rows = [measured(cpu_time_ns=1000, device_time_ns=20)]
    forward, _ = compare([LAYER], [COSTED], rows, [0])
    assert forward.flop_per_s == pytest.approx(10 / 20e-9)


def test_the_rate_under_a_cuda_graph_is_unknown_and_not_taken_from_the_host() -> None:
    rows = [measured(on_device=DeviceUse(launches_graph=True))]
    forward, _ = compare([LAYER], [COSTED], rows, [0])
    assert forward.time_ns is forward.flop_per_s is None
    assert forward.note == CUDA_GRAPH


def test_times_of_the_gradients_are_the_median_too() -> None:
    uses = [DeviceUse(span_ns=10 * time, grad_input_device_time_ns=time) for time in (3, 100, 5)]
    rows = [
        measured(step=step, calls=(step,), cpu_time_ns=step, wall_time_ns=step, on_device=use)
        for step, use in enumerate(uses)
    ]
    calls = [replace(COSTED, call=replace(CALL, step=step)) for step in range(3)]
    forward, _ = compare([LAYER], calls, rows, [0, 1, 2])
    assert forward.measured is not None
    assert forward.measured.on_device == DeviceUse(span_ns=50, grad_input_device_time_ns=5)
    assert forward.measured.wall_time_ns == 1


def test_a_backward_that_was_not_recorded_has_no_cost() -> None:
    _, backward = compare([LAYER], [COSTED], [measured()], [0])
    assert (backward.measured, backward.cost) == (None, None)
    assert backward.note == NOT_RECORDED.format("backward")
    assert backward.flop_ratio is backward.flop_per_s is backward.time_ns is None


def test_a_layer_that_did_not_run_says_so() -> None:
    for comparison in compare([LAYER], [], [], [0]):
        assert (comparison.note, comparison.steps, comparison.calls) == (NOT_RUN, 0, 0)
        assert comparison.cost is comparison.measured is None


def test_a_layer_without_theory_still_has_its_measured_half() -> None:
    unknown = CostedCall(call=CALL, costs=None, reason="no theory for Conv2d")
    forward, _ = compare([LAYER], [unknown], [measured()], [0])
    assert forward.cost is None
    assert forward.note == "no theory for Conv2d"
    assert forward.measured is not None
    assert forward.flop_ratio is forward.flop_per_s is None


BLOCK = layer("block", nn.Sequential(), is_container=True, needs_own_work=True)
BLOCK_CALL = CostedCall(call=Call(layer="block"), costs=None, reason="no theory for Sequential")
INSIDE = replace(COSTED, call=replace(CALL, parent=0))


def test_a_container_costs_what_the_layers_inside_cost() -> None:
    rows = [
        measured(layer="block", calls_inside=(0, 1), direct_operators=("aten::add",)),
        measured(calls=(1,)),
    ]
    calls = [BLOCK_CALL, INSIDE]
    block, *_ = compare([BLOCK, replace(LAYER, has_row=False)], calls, rows, [0])
    assert block.cost is not None
    assert (block.cost.flop, block.cost.elementwise_flop) == (10, None)  # its own addition
    assert (block.cost.read_bytes, block.cost.allocated_bytes) == (None, None)
    assert block.note == ""


def test_a_containers_own_products_make_its_theory_unknown() -> None:
    rows = [
        measured(
            layer="block",
            calls_inside=(0, 1),
            direct_operators=("aten::bmm",),
            direct_products=("aten::bmm",),
        )
    ]
    block, *_ = compare([BLOCK, replace(LAYER, has_row=False)], [BLOCK_CALL, INSIDE], rows, [0])
    assert block.cost is None
    assert block.note == OWN_PRODUCTS.format("aten::bmm")


def test_a_container_without_operators_of_its_own_is_left_out_unless_named() -> None:
    rows = [measured(layer="block", calls_inside=(0, 1)), measured(calls=(1,))]
    assert [each.layer for each in compare([BLOCK, LAYER], [BLOCK_CALL, INSIDE], rows, [0])] == [
        LAYER,
        LAYER,
    ]
    named = replace(BLOCK, needs_own_work=False)
    block, *_ = compare([named, LAYER], [BLOCK_CALL, INSIDE], rows, [0])
    assert block.layer is named
    assert block.cost is not None
    assert (block.cost.flop, block.cost.elementwise_flop) == (10, 1)


def test_the_rest_of_the_step_is_a_row_too() -> None:
    rest = measured(layer=None, phase=None, calls=(), cpu_time_ns=9)
    *_, row = compare([LAYER], [COSTED], [measured(), rest], [0])
    assert (row.layer, row.phase, row.cost) == (None, None, None)
    assert row.measured is not None
    assert row.measured.cpu_time_ns == 9


def test_an_optimizer_that_hides_in_one_of_the_steps_is_not_missing() -> None:
    steps = [measured(step=step, phase=Phase.BACKWARD) for step in (0, 1)]
    rest = {"layer": None, "phase": None, "calls": ()}
    waits = measured(**rest, cpu_time_ns=10)
    *_, row = compare([LAYER], [COSTED], [*steps, waits], [0])
    assert row.note == NO_OPTIMIZER
    hides = measured(**rest, step=1, cpu_time_ns=99, hides_optimizer=True)
    *_, row = compare([LAYER], [COSTED], [*steps, waits, hides], [0, 1])
    assert row.note != NO_OPTIMIZER


def test_sums_of_costs_keep_every_derivation() -> None:
    assert sum_costs([COST, COST]).read_bytes == 4
    assert sum_costs([]).flop == 0


def test_a_phase_is_found_by_its_text() -> None:
    assert {Phase.FORWARD: 1}["forward"] == {"forward": 1}[Phase.FORWARD] == 1


@pytest.mark.parametrize(
    ("device_times_ns", "names", "times_ns"),
    [
        (None, ["long", "brief"], [None, None]),  # no device: by the host's
        ({"brief": 5}, ["brief", "long"], [5, 0]),
        ({}, ["long", "brief"], [0, 0]),  # a device that nothing was launched on
    ],
)
def test_the_operators_of_a_row_are_listed_the_longest_first(
    device_times_ns: dict[str, int] | None, names: list[str], times_ns: list[int | None]
) -> None:
    sums = OperatorSums(
        counts={"brief": 3, "long": 1},
        cpu_times_ns={"brief": 10, "long": 20},
        device_times_ns=device_times_ns,
    )
    operators = measured(operator_sums=sums).operators
    assert [use.name for use in operators] == names
    assert [use.device_time_ns for use in operators] == times_ns
