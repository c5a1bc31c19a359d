from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.profiler import ProfilerActivity, profile

from lightning_profile.attribution import attribute
from lightning_profile.records import Allocation, Call, Op, Phase
from tests.conftest import SmallCnn
from tests.recording import measure, record


def training_step(model: nn.Module) -> None:
    images = torch.ones(4, 1, 12, 12)
    model.zero_grad()
    F.cross_entropy(model(images), torch.zeros(4, dtype=torch.long)).backward()


def test_rows_add_up_to_what_the_profiler_saw() -> None:
    model = SmallCnn()
    layers = ["Conv2d-1", "Conv2d-2", "BatchNorm2d-1", "Linear-1"]
    _, recording = record(model, layers, lambda: training_step(model), steps=2)
    rows = attribute(recording.ops, recording.calls, memory_device="cpu")
    assert {row.layer for row in rows} == {None, "conv1", "conv2", "norm", "fc"}

    for step in (0, 1):
        own = [row for row in rows if row.step == step]
        roots = [op for op in recording.ops if op.step == step and op.parent is None]
        assert sum(row.cpu_time_ns for row in own) == sum(op.end_ns - op.start_ns for op in roots)
        blocks = [
            block.bytes for op in recording.ops if op.step == step for block in op.allocations
        ]
        assert sum(row.allocated_bytes + row.workspace_bytes for row in own) == sum(
            size for size in blocks if size > 0
        )


def test_flop_total_equals_the_profilers_own_and_the_backward_formula() -> None:
    model = SmallCnn()
    rows = measure(model, ["Conv2d-1", "Conv2d-2"], lambda: training_step(model))
    counted = sum(row.counted_flop or 0 for row in rows.values())
    elementwise = sum(row.counted_elementwise_flop or 0 for row in rows.values())
    with profile(
        activities=[ProfilerActivity.CPU], with_flops=True, record_shapes=True
    ) as reference:
        training_step(model)
    own = sum(event.flops for event in reference.key_averages())
    backward = rows["conv1", "backward"].counted_flop + rows["conv2", "backward"].counted_flop
    assert counted + elementwise == own + backward


def test_backward_is_found_through_inplace_activations_and_normalisation() -> None:
    rows = measure(SmallCnn(), ["Conv2d-1", "Conv2d-2"], lambda: None)
    assert set(rows) == {(None, None)}

    model = SmallCnn()
    rows = measure(model, ["Conv2d-1", "Conv2d-2"], lambda: training_step(model))
    once = 2 * 4 * 8 * 10 * 10 * 4 * 9
    assert rows["conv2", "forward"].counted_flop == once
    assert rows["conv2", "backward"].counted_flop == 2 * once
    assert rows["conv1", "backward"].counted_flop == rows["conv1", "forward"].counted_flop


def test_a_frozen_layer_first_has_no_backward_and_takes_none_from_the_next() -> None:
    model = SmallCnn()
    model.conv1.requires_grad_(requires_grad=False)
    rows = measure(model, ["Conv2d-1", "Conv2d-2"], lambda: training_step(model))
    assert ("conv1", "backward") not in rows
    # Its output needs no gradient, so conv2 computes grad_weight only.
    assert rows["conv2", "backward"].counted_flop == rows["conv2", "forward"].counted_flop


def test_a_layer_called_twice_is_counted_twice() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(conv)
    source = torch.ones(2, 3, 8, 8)
    rows = measure(model, ["Conv2d-1"], lambda: conv(conv(source)).sum().backward())
    forward, backward = rows["0", "forward"], rows["0", "backward"]
    assert (len(forward.calls), len(backward.calls)) == (2, 2)
    once = 2 * 2 * 3 * 64 * 27
    assert forward.counted_flop == 2 * once
    assert backward.counted_flop == 3 * once  # the first call's input needs no gradient


def op(position: int, parent: int | None, **values: object) -> Op:
    defaults: dict[str, object] = {
        "name": f"op{position}",
        "step": 0,
        "parent": parent,
        "call": None,
        "thread": 1,
        "start_ns": position * 10,
        "end_ns": position * 10 + 10,
        "sequence_number": None,
        "forward_thread": None,
        "is_autograd_node": False,
        "counted_flop": None,
        "counted_elementwise_flop": None,
        "is_uncounted": False,
        "launched": None,
        "allocations": (),
    }
    return Op(**(defaults | values))  # type: ignore[arg-type]


def block(time_ns: int, address: int, size: int) -> Allocation:
    return Allocation(
        time_ns=time_ns, address=address, bytes=size, device_type="cpu", reserved_bytes=None
    )


CALL = Call(layer="conv")


def test_blocks_are_kept_or_workspace_by_whether_they_outlive_the_phase() -> None:
    ops = [
        op(0, None, end_ns=1000),
        op(1, 0, call=0, end_ns=500),
        op(2, 1, allocations=(block(20, 7, 100), block(21, 8, 40), block(22, 8, -40))),
        op(3, 1, allocations=(block(30, 9, 30), block(31, 5, -999))),  # 5 is from before
        op(4, 0, allocations=(block(600, 7, -100), block(601, 7, 11))),
    ]
    rows = {row.layer: row for row in attribute(ops, [CALL], memory_device="cpu")}
    layer, rest = rows["conv"], rows[None]
    assert (layer.allocated_bytes, layer.workspace_bytes) == (130, 40)
    assert layer.cpu_time_ns == 20  # two operators; Python between them is not the layer's
    assert layer.peak_allocated_bytes == 140
    assert (rest.allocated_bytes, rest.workspace_bytes) == (11, 0)
    assert not any(row.peak_allocated_bytes for row in attribute(ops, [CALL], memory_device="cuda"))


def test_sequence_numbers_are_kept_apart_by_the_forwards_thread() -> None:
    ops = [
        op(0, None, end_ns=1000),
        op(1, 0, call=0, end_ns=100),
        op(2, 1, sequence_number=5, thread=1),
        op(20, 0, sequence_number=5, thread=2),  # another thread's forward, outside of the layer
        op(30, None, sequence_number=5, forward_thread=1, thread=3, is_autograd_node=True),
        op(40, None, sequence_number=5, forward_thread=2, thread=3, is_autograd_node=True),
        op(50, None, sequence_number=6, forward_thread=1, thread=3, is_autograd_node=True),
    ]
    rows = attribute(ops, [CALL], memory_device="cpu")
    backward = [row for row in rows if row.phase is Phase.BACKWARD]
    assert [(row.layer, row.calls, row.cpu_time_ns) for row in backward] == [("conv", (0,), 10)]


def test_a_call_that_did_not_return_is_unattributed() -> None:
    ops = [op(0, None, end_ns=100), op(1, 0, call=0, end_ns=90), op(2, 1)]
    (row,) = attribute(ops, [None], memory_device="cpu")
    assert (row.layer, row.cpu_time_ns) == (None, 100)


@pytest.mark.parametrize("has_device", [False, True])
def test_device_time_is_unknown_without_a_device_and_zero_without_kernels(has_device: bool) -> None:
    ops = [op(0, None, launched=() if has_device else None)]
    (row,) = attribute(ops, [], memory_device="cpu")
    assert row.device_time_ns == (0 if has_device else None)
    assert row.kernels == (0 if has_device else None)


def test_the_engines_work_is_the_layers_but_its_sums_of_gradients_are_not() -> None:
    engine = {"sequence_number": 5, "forward_thread": 1}
    ops = [
        op(0, None, end_ns=1000),
        op(1, 0, call=0, end_ns=50),
        op(2, 1, sequence_number=5),
        op(30, 0, end_ns=400, **engine, allocations=(block(350, 9, -64),)),
        op(31, 3, end_ns=340, **engine, is_autograd_node=True, allocations=(block(311, 9, 64),)),
        op(35, 3, end_ns=360, name="aten::sum", allocations=(block(351, 7, 4),)),
        op(36, 3, end_ns=380, name="aten::add", allocations=(block(361, 8, 16),)),
    ]
    rows = {(row.layer, row.phase): row for row in attribute(ops, [CALL], memory_device="cpu")}
    backward = rows["conv", Phase.BACKWARD]
    assert (backward.allocated_bytes, backward.workspace_bytes) == (4, 64)
    assert backward.cpu_time_ns == 100 - 20
    assert rows[None, None].allocated_bytes == 16


def test_the_peak_is_of_all_calls_of_a_step_together() -> None:
    second = replace(CALL, index=1)
    ops = [
        op(0, None, end_ns=1000),
        op(1, 0, call=0, end_ns=100, allocations=(block(11, 1, 10), block(12, 2, 5))),
        op(30, 0, call=1, end_ns=400, allocations=(block(301, 3, 10), block(302, 1, -10))),
    ]
    rows = {row.layer: row for row in attribute(ops, [CALL, second], memory_device="cpu")}
    layer = rows["conv"]
    assert (layer.calls, layer.allocated_bytes) == ((0, 1), 25)
    assert layer.peak_allocated_bytes == 25


def test_a_count_with_a_part_missing_is_unknown() -> None:
    ops = [op(0, None, counted_flop=7, end_ns=100), op(1, 0, is_uncounted=True)]
    (row,) = attribute(ops, [], memory_device="cpu")
    assert row.counted_flop is None
