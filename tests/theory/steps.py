"""What one layer creates and keeps in a real step on the CPU, beside the theory of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_profile.measurement.graph import next_node_number
from lightning_profile.measurement.saved import saved_bytes
from lightning_profile.records import Comparison, Phase
from lightning_profile.theory import cost_call, footprint
from tests.recording import compare_step
from tests.theory.arithmetic import evaluate
from tests.theory.calls import call_layer


class Source(nn.Module):
    """Hands on a fresh tensor, which a layer may change in place."""

    def __init__(self, source: Tensor, *, needs_gradient: bool) -> None:
        super().__init__()
        self.source = nn.Parameter(source) if needs_gradient else source

    def forward(self) -> Tensor:
        return self.source * 1 if self.source.is_floating_point() else self.source


class Step(nn.Module):
    def __init__(self, layer: nn.Module, source: Tensor, *, needs_gradient: bool) -> None:
        super().__init__()
        self.source = Source(source, needs_gradient=needs_gradient)
        self.layer = layer

    def forward(self) -> Tensor:
        result = self.layer(self.source())
        return result[0] if isinstance(result, tuple) else result


@dataclass(frozen=True)
class Allocated:
    """Allocated bytes of a phase in theory, ``None`` where it says nothing, and measured."""

    theory: int | None
    measured: int


def allocated_in_step(
    layer: nn.Module, source: Tensor, *, needs_gradient: bool = True, no_grad: bool = False
) -> dict[str, Allocated]:
    """Per phase of ``layer`` that ran."""
    model = Step(layer, source, needs_gradient=needs_gradient)
    with torch.no_grad():
        weights = torch.ones_like(model())  # a gradient that is not expanded, as in a network

    def step() -> None:
        model.zero_grad()
        with torch.set_grad_enabled(not no_grad):
            output = model()
            if output.requires_grad:
                (output * weights).sum().backward()

    compared = compare_step(model, ["layer"], step)
    found = {}
    for (name, phase), each in compared.items():
        if name == "layer" and each.measured is not None:
            assert each.cost is not None, each.note
            found[phase] = Allocated(each.cost.allocated_bytes, each.measured.allocated_bytes)
            if each.cost.allocated_bytes is not None:
                assert_every_tensor_has_a_block(each)
    return found


def assert_every_tensor_has_a_block(each: Comparison) -> None:
    """Theory's tensors, kept and temporary blocks are all that was allocated."""
    assert each.cost is not None
    assert each.measured is not None
    assert each.memory is not None
    assert each.memory.sum_of("theory") == each.cost.allocated_bytes
    assert each.memory.sum_of("temporary") == each.measured.workspace_bytes
    assert each.memory.residual_bytes == 0, each.memory
    assert sum(part.bytes for part in each.memory.parts) == each.memory.measured_bytes


def assert_allocated(layer: nn.Module, source: Tensor, *, unknown: set[str] = frozenset()) -> None:
    """Theory equals measurement in every mode; it is unknown for ``unknown`` in training only."""
    for needs_gradient in {True, False} if source.is_floating_point() else {False}:
        found = allocated_in_step(layer, source, needs_gradient=needs_gradient)
        for phase, bytes_ in found.items():
            if needs_gradient and phase in unknown:
                assert bytes_.theory is None
            elif bytes_.theory is not None:
                assert bytes_.theory == bytes_.measured, (phase, needs_gradient)
            else:
                assert phase in unknown, phase
    (forward,) = allocated_in_step(layer, source, no_grad=True, needs_gradient=False).values()
    assert forward.theory == forward.measured


def assert_kept(layer: nn.Module, source: Tensor) -> None:
    """Theory equals the storages that autograd saves, parameters and buffers excluded."""
    for needs_gradient in {True, False} if source.is_floating_point() else {False}:
        model = Step(layer, source, needs_gradient=needs_gradient)
        own = {
            each.untyped_storage().data_ptr() for each in (*layer.parameters(), *layer.buffers())
        }
        saved: dict[int, int] = {}

        def pack(tensor: Tensor, own: set[int] = own, saved: dict[int, int] = saved) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        given = model.source()
        first_node = next_node_number()
        read = saved_bytes(layer, layer(given), first_node)
        given = model.source()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            real = call_layer(layer, given)
        lines = {line.quantity: line for line in footprint(real.layer, real.call)}
        line = lines["activation_bytes"]
        assert line.value == evaluate(line.numbers) == sum(saved.values()) == read


def assert_derivations(layer: nn.Module, *sources: Tensor) -> None:
    """Each printed number equals what its derivation says, which is never a product."""
    inputs = [each.clone().requires_grad_(each.is_floating_point()) * 1 for each in sources]
    real = call_layer(layer, *inputs)
    costs = cost_call(real.layer, real.call)
    assert costs.costs is not None, costs.reason
    assert Phase.FORWARD in costs.costs
    for cost in costs.costs.values():
        assert cost.flop == 0
        known = {
            "element-wise": cost.elementwise_flop,
            "comparisons": cost.elementwise_flop,
            "compulsory reads": cost.read_bytes,
            "compulsory writes": cost.write_bytes,
            "allocated": cost.allocated_bytes,
        }
        for line in cost.derivation:
            assert evaluate(line.numbers) == line.value == known[line.quantity]
