from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from lightning_profile.comparison import (
    NO_COUNT,
    NOT_RECORDED,
    NOT_RUN,
    OTHER_BACKWARD,
    comparable_steps,
    compare,
    sum_costs,
)
from lightning_profile.records import Call, Cost, Layer, Measurement, Phase

LAYER = Layer(
    qualified_name="conv", display_name="Conv2d-1", type_name="Conv2d", module=nn.Conv2d(1, 1, 1)
)
CALL = Call(
    layer="conv",
    step=0,
    index=0,
    input_shapes=((2, 1),),
    output_shapes=((2, 1),),
    dtype=torch.bfloat16,
    input_requires_grad=True,
    output_requires_grad=True,
)
COST = Cost(flop=10, elementwise_flop=1, read_bytes=2, write_bytes=3, allocated_bytes=4)
COSTS = {Phase.FORWARD: COST, Phase.GRAD_INPUT: COST, Phase.GRAD_WEIGHT: COST}


def measured(**values: Any) -> Measurement:
    defaults: dict[str, Any] = dict.fromkeys(Measurement.__dataclass_fields__, None)
    defaults |= {
        "layer": "conv",
        "phase": Phase.FORWARD,
        "step": 0,
        "calls": 1,
        "counted_flop": 10,
        "cpu_time_ns": 5,
        "allocated_bytes": 8,
        "workspace_bytes": 0,
        "peak_allocated_bytes": 8,
    }
    return Measurement(**(defaults | values))


def test_the_commonest_batch_size_is_compared_and_the_earlier_of_two() -> None:
    assert comparable_steps({10: 8, 11: 8, 12: 3}, []) == [10, 11]
    assert comparable_steps({10: 3, 11: 8, 12: 8}, []) == [11, 12]
    assert comparable_steps({10: 8, 11: 3}, []) == [10]
    assert comparable_steps({}, []) == []


def test_steps_of_one_batch_size_but_other_shapes_are_not_mixed() -> None:
    calls = [
        replace(CALL, step=step, input_shapes=((2, size),)) for step, size in enumerate((8, 12, 12))
    ]
    assert comparable_steps({0: 2, 1: 2, 2: 2}, calls) == [1, 2]


def test_a_backward_that_ran_for_some_calls_only_has_no_theory() -> None:
    calls = [(CALL, COSTS), (replace(CALL, index=1), COSTS)]  # as checkpointing's recomputation
    rows = [measured(calls=2), measured(phase=Phase.BACKWARD, calls=1)]
    forward, backward = compare([LAYER], calls, rows, [0])
    assert forward.cost is not None
    assert backward.cost is None
    assert backward.note == OTHER_BACKWARD.format(1, 2)


def test_an_unknown_count_says_why() -> None:
    forward, _ = compare([LAYER], [(CALL, COSTS)], [measured(counted_flop=None)], [0])
    assert forward.note == NO_COUNT


def test_times_are_the_median_and_only_of_the_steps_asked_for() -> None:
    rows = [measured(step=step, cpu_time_ns=time) for step, time in enumerate((5, 100, 7, 1))]
    calls = [(replace(CALL, step=step), COSTS) for step in range(4)]
    forward, _ = compare([LAYER], calls, rows, [0, 1, 2])
    assert (forward.steps, forward.calls, forward.dtype) == (3, 1, "bfloat16")
    assert forward.measured is not None
    assert forward.measured.cpu_time_ns == 7
    assert forward.time_ns == 7
    assert forward.flop_per_s == pytest.approx(10 / 7e-9)
    assert (forward.flop_ratio, forward.allocated_ratio) == (1.0, 2.0)


def test_device_time_is_preferred_for_the_rate() -> None:
    rows = [measured(cpu_time_ns=1000, device_time_ns=20)]
    forward, _ = compare([LAYER], [(CALL, COSTS)], rows, [0])
    assert forward.flop_per_s == pytest.approx(10 / 20e-9)


def test_backward_is_both_gradients_and_calls_of_a_step_are_summed() -> None:
    calls = [(CALL, COSTS), (replace(CALL, index=1), {Phase.FORWARD: COST})]
    forward, backward = compare([LAYER], calls, [measured(calls=2)], [0])
    assert forward.cost is not None
    assert backward.cost is not None
    assert (forward.calls, forward.cost.flop, backward.cost.flop) == (2, 20, 20)
    assert (backward.measured, backward.note) == (None, NOT_RECORDED.format("backward"))
    assert backward.flop_ratio is backward.flop_per_s is backward.time_ns is None


def test_a_forward_that_was_not_recorded_is_not_called_a_backward() -> None:
    forward, _ = compare([LAYER], [(CALL, COSTS)], [], [0])
    assert (forward.measured, forward.note) == (None, "no operator of its forward was recorded")


def test_a_layer_that_did_not_run_says_so() -> None:
    for comparison in compare([LAYER], [], [], [0]):
        assert (comparison.note, comparison.steps, comparison.calls) == (NOT_RUN, 0, 0)
        assert comparison.cost is comparison.measured is None


def test_a_layer_without_theory_still_has_its_measured_half() -> None:
    forward, _ = compare([LAYER], [(CALL, None)], [measured()], [0])
    assert forward.cost is None
    assert "no theory for this Conv2d" in forward.note
    assert forward.measured is not None
    assert forward.flop_ratio is forward.flop_per_s is None


def test_sums_of_costs_keep_every_derivation() -> None:
    assert sum_costs([COST, COST]).read_bytes == 4
    assert sum_costs([]).flop == 0
