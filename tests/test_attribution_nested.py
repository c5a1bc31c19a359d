"""Layers inside of layers, and forwards inside of backwards."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_profile.attribution import attribute
from lightning_profile.records import Call, Measurement, Op, Phase, PhaseCosts
from lightning_profile.theory import phase_costs, product_costs
from tests.recording import compare_step, measure
from tests.test_attribution import block, op

BLOCK, CONV = Call(layer="block"), Call(layer="block.conv", parent=0)


def rows_of(
    ops: list[Op], calls: list[Call | None], reported: set[str] | None = None
) -> dict[tuple[str | None, Phase | None], Measurement]:
    rows = attribute(ops, calls, memory_device="cpu", reported=reported)
    return {(row.layer, row.phase): row for row in rows}


def nested() -> list[Op]:
    """A step with a block: an operator of its own (4 FLOP), then its convolution's (7 FLOP)."""
    return [
        op(0, None, end_ns=1000),
        op(1, 0, call=0, end_ns=500),
        op(2, 1, end_ns=30, name="aten::bmm", counted_flop=4),
        op(10, 1, call=1, end_ns=200),
        op(11, 3, end_ns=150, counted_flop=7, sequence_number=5),
        op(60, 0, start_ns=600, end_ns=700, forward_thread=1, sequence_number=5),
        op(61, 5, end_ns=690, forward_thread=1, sequence_number=5, is_autograd_node=True),
    ]


def test_a_container_sums_what_ran_inside_and_its_own_part_is_what_is_left() -> None:
    rows = rows_of(nested(), [BLOCK, CONV])
    container, conv = rows["block", Phase.FORWARD], rows["block.conv", Phase.FORWARD]
    assert (container.counted_flop, container.own.counted_flop) == (11, 4)
    assert (conv.counted_flop, conv.own.counted_flop) == (7, 7)
    assert (container.cpu_time_ns, container.own.cpu_time_ns) == (10 + 40, 10)
    assert (container.calls, container.calls_inside) == ((0,), (0, 1))
    assert (conv.calls, conv.calls_inside) == ((1,), (1,))
    assert (container.direct_operators, container.direct_products) == (("aten::bmm",),) * 2
    assert rows["block", Phase.BACKWARD].cpu_time_ns == conv_backward(rows).cpu_time_ns == 100
    assert rows["block", Phase.BACKWARD].own.cpu_time_ns == 0
    own = sum(row.own.cpu_time_ns for row in rows.values())
    assert own == 1000  # the step


def conv_backward(rows: dict[tuple[str | None, Phase | None], Measurement]) -> Measurement:
    return rows["block.conv", Phase.BACKWARD]


def test_what_a_layer_without_a_row_does_is_its_containers_own() -> None:
    rows = rows_of(nested(), [BLOCK, CONV], reported={"block"})
    assert rows["block", Phase.FORWARD].own.counted_flop == 11
    assert rows["block", Phase.BACKWARD].own.cpu_time_ns == 100


def test_a_block_that_the_next_layer_frees_is_workspace_of_the_container_only() -> None:
    ops = [
        op(0, None, end_ns=1000),
        op(1, 0, call=0, end_ns=900),
        op(10, 1, call=1, end_ns=200, allocations=(block(110, 7, 100),)),
        op(30, 1, call=2, end_ns=500, allocations=(block(310, 8, 30), block(320, 7, -100))),
    ]
    rows = rows_of(ops, [BLOCK, CONV, replace(CONV, layer="block.next")])
    first, container = rows["block.conv", Phase.FORWARD], rows["block", Phase.FORWARD]
    assert (first.allocated_bytes, first.workspace_bytes) == (100, 0)
    assert (container.allocated_bytes, container.workspace_bytes) == (30, 100)
    assert (first.peak_allocated_bytes, container.peak_allocated_bytes) == (100, 130)


def test_a_layer_that_calls_itself_has_its_blocks_once() -> None:
    inner = replace(BLOCK, index=1, parent=0)
    ops = [
        op(0, None, end_ns=1000),
        op(1, 0, call=0, end_ns=900),
        op(10, 1, call=1, end_ns=200, allocations=(block(110, 7, 100), block(120, 8, 30))),
        op(30, 1, end_ns=500, allocations=(block(320, 8, -30),)),
    ]
    row = rows_of(ops, [BLOCK, inner])["block", Phase.FORWARD]
    assert row.calls == (0, 1)
    assert (row.allocated_bytes, row.workspace_bytes) == (100, 30)
    assert row.peak_allocated_bytes == 130
    assert row.blocks is not None
    assert [each.bytes for each in row.blocks.kept] == [100]
    assert list(row.blocks.temporary_bytes.values()) == [30]


def test_elapsed_time_has_the_python_between_the_operators() -> None:
    rows = rows_of(nested(), [BLOCK, CONV])
    conv = rows["block.conv", Phase.FORWARD]
    assert (conv.wall_time_ns, conv.cpu_time_ns) == (100, 40)
    assert rows[None, None].wall_time_ns is None


def test_elapsed_time_is_unknown_where_the_hooks_of_layers_inside_ran() -> None:
    assert rows_of(nested(), [BLOCK, CONV])["block", Phase.FORWARD].wall_time_ns is None


def test_a_recomputation_inside_of_a_backward_takes_none_of_its_elapsed_time() -> None:
    again = replace(CONV, phase=Phase.RECOMPUTE, parent=None)
    ops = [*nested(), op(62, 6, end_ns=670, call=2), op(63, 7, end_ns=660)]
    backward = conv_backward(rows_of(ops, [BLOCK, CONV, again]))
    assert backward.wall_time_ns == backward.cpu_time_ns == 100 - 50


def test_a_recomputed_layer_belongs_to_the_container_that_its_forward_ran_in() -> None:
    again = replace(CONV, phase=Phase.RECOMPUTE, parent=None)
    ops = [
        *nested(),
        op(70, 0, start_ns=710, end_ns=800, call=2),
        op(71, 7, start_ns=720, end_ns=760, counted_flop=7),
    ]
    rows = rows_of(ops, [BLOCK, CONV, again])
    assert rows["block", Phase.RECOMPUTE].counted_flop == 7
    assert rows["block", Phase.RECOMPUTE].own.counted_flop == 0
    assert rows["block.conv", Phase.RECOMPUTE].counted_flop == 7
    assert rows["block", Phase.FORWARD].counted_flop == 11


def test_an_interrupted_operator_counts_only_if_it_has_allocated_its_output() -> None:
    cut = replace(CONV, phase=Phase.RECOMPUTE, parent=None, is_complete=False)
    entered = [
        op(0, None, end_ns=1000),
        op(1, 0, call=0, end_ns=500),
        op(2, 1, end_ns=30, counted_flop=7),
        op(4, 1, end_ns=90, counted_flop=50),
    ]
    assert rows_of(entered, [cut])["block.conv", Phase.RECOMPUTE].counted_flop == 7
    entered[-1] = replace(entered[-1], allocations=(block(45, 7, 100),))
    assert rows_of(entered, [cut])["block.conv", Phase.RECOMPUTE].counted_flop == 57


class Residual(nn.Module):
    """Adds what its projection makes, with a formula of its own below."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(x) @ torch.ones(4, 4)


class Formulated(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


@phase_costs.register(Formulated)
def _formulated_costs(module: Formulated, call: Call) -> PhaseCosts:
    return product_costs(call, 2 * call.outputs[0].elements * 4)


def test_a_formula_registered_for_a_container_is_its_theory() -> None:
    x = torch.ones(3, 4)
    for layer, theory in ((Residual(), None), (Formulated(), 2 * 2 * 3 * 4 * 4)):
        model = nn.Sequential(layer)
        rows = compare_step(model, type(layer), lambda model=model: model(x).sum().backward())
        forward = rows["0", "forward"]
        assert (forward.cost and forward.cost.flop) == theory
        assert forward.measured is not None
        assert forward.measured.counted_flop == 2 * 2 * 3 * 4 * 4
        assert forward.note == (
            "" if theory else "theory unknown: it runs products of its own (aten::mm)"
        )


def test_what_is_around_a_container_is_no_part_of_its_theory() -> None:
    x = torch.ones(3, 4)
    for around in (Residual(), Formulated()):
        around.project = nn.Sequential(nn.Linear(4, 4))  # type: ignore[assignment]
        rows = compare_step(around, ["(model)", "project"], lambda model=around: model(x))
        inner = rows["project", "forward"]
        assert inner.measured is not None
        assert inner.cost is not None
        assert inner.cost.flop == inner.measured.counted_flop == 2 * 3 * 4 * 4
        assert inner.note == ""


def test_a_block_recomputed_in_parts_adds_up_to_the_step() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = checkpoint(nn.Sequential(self.first, nn.ReLU()), x, use_reentrant=False)
            return self.second(x)

    model, x = nn.Sequential(Block()), torch.ones(3, 4)
    rows = measure(model, ["0", "Linear"], lambda: model(x).square().sum().backward())
    once = 2 * 3 * 4 * 4
    assert rows["0", "recompute"].counted_flop == rows["0.first", "recompute"].counted_flop == once
    assert rows["0", "forward"].counted_flop == 2 * once
    assert ("0.second", "recompute") not in rows


class FunctionalAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return (self.query(x) @ self.key(x).T).softmax(-1) @ x


class WithFormula(FunctionalAttention):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


@phase_costs.register(WithFormula)
def _with_formula_costs(module: WithFormula, call: Call) -> PhaseCosts:
    rows, width = call.inputs[0].shape
    return product_costs(call, 2 * rows * width * width + 2 * rows * rows * width)


def test_products_of_an_inner_container_are_not_lost_from_the_outer_ones_theory() -> None:
    x = torch.ones(3, 4)
    for attention, theory in ((FunctionalAttention(), None), (WithFormula(), 528)):
        model = nn.Sequential(nn.Sequential(attention, nn.Linear(4, 4)))
        rows = compare_step(model, ["0", "0.0"], lambda model=model: model(x))
        outer = rows["0", "forward"]
        assert outer.measured is not None
        assert outer.measured.counted_flop == 2 * (3 * 3 * 4 * 4 + 2 * 3 * 3 * 4) == 432
        if theory is None:
            assert outer.cost is None
            assert "runs products of its own (aten::mm)" in outer.note
        else:
            assert outer.cost is not None
            assert outer.cost.flop == 432


def test_a_module_that_returns_nothing_is_a_call_all_the_same() -> None:
    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> None:
            self.kept = self.linear(x)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory, self.out = Memory(), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            self.memory(x)
            return self.out(self.memory.kept)

    model, x = nn.Sequential(Net()), torch.ones(3, 4)
    rows = compare_step(model, ["0", "0.memory"], lambda: model(x).sum().backward())
    once = 2 * 3 * 4 * 4
    for name, products in (("0", 2), ("0.memory", 1)):
        forward = rows[name, "forward"]
        assert forward.cost is not None
        assert forward.measured is not None
        assert forward.cost.flop == forward.measured.counted_flop == products * once


def test_a_backward_that_runs_twice_has_no_theory() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.ones(3, 4)

    def twice() -> None:
        loss = model(x).square().sum()
        loss.backward(retain_graph=True)
        loss.backward()

    backward = compare_step(model, "Linear", twice)["2", "backward"]
    assert backward.cost is None
    assert backward.note.startswith("theory unknown: its backward ran more than once in a step")
    assert backward.measured is not None
    assert backward.measured.counted_flop == 2 * 2 * (2 * 3 * 4 * 2)
    once = compare_step(model, "Linear", lambda: model(x).sum().backward())["2", "backward"]
    assert once.cost is not None
