"""Puts together the costs of layers without products: one input, one gradient, arithmetic apart.

Convention of ``elementwise_flop``: an addition, subtraction, multiplication, division, comparison
or maximum, and an evaluation of exp, log, tanh, erf, √, |x| or a power count 1 each; a change of
sign and a choice between two values count nothing. A reduction over K elements is K operations,
as it is in the products of this package, whose sums start from zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning_profile.records import Call, Cost, Phase, PhaseCosts, TensorFact
from lightning_profile.theory.cost import operand_bytes, phase_cost
from lightning_profile.theory.expression import ZERO, Expression, symbol, total
from lightning_profile.theory.tensors import NamedTensor


def has_one_input(call: Call) -> bool:
    """Whether one tensor went in and one came out."""
    return len(call.inputs) == 1 and len(call.outputs) == 1


def input_elements(call: Call) -> Expression:
    """Elements of the first input."""
    return symbol("input elements", call.inputs[0].elements)


def output_elements(call: Call) -> Expression:
    """Elements of the first output."""
    return symbol("output elements", call.outputs[0].elements)


def times(count: int, elements: Expression) -> Expression:
    """``count`` operations on each of ``elements``; nothing if there are none."""
    if count == 0:
        return ZERO
    return elements if count == 1 else count * elements


def input_bytes(call: Call) -> Expression:
    """Bytes of the inputs, and of a gradient for each of them."""
    return operand_bytes(call, call.inputs, "input")


def output_bytes(call: Call) -> Expression:
    """Bytes of the outputs."""
    return operand_bytes(call, call.outputs, "output")


def stored_bytes(parameters: Iterable[TensorFact]) -> Expression:
    """Bytes of parameters in their own type, which these layers compute with under autocast."""
    return total([symbol(f"{each.name} bytes", each.bytes) for each in parameters])


def needs_input_gradient(call: Call) -> bool:
    """Whether the backward pass computes the gradient of an input."""
    return call.output_requires_grad and call.input_requires_grad


def forward_cost(
    call: Call, operations: Expression, *, allocated: Sequence[NamedTensor] | None
) -> Cost:
    """Reads inputs and parameters, writes the outputs.

    Args:
        call: The call, whose shapes give the traffic.
        operations: On single elements.
        allocated: What is created and outlives the phase; ``None`` if unknown.
    """
    return phase_cost(
        elementwise=operations,
        read=total([input_bytes(call), stored_bytes(call.parameters)]),
        write=output_bytes(call),
        allocated=allocated,
    )


def grad_input_cost(
    call: Call,
    operations: Expression,
    *,
    needed: Expression,
    allocated: Sequence[NamedTensor] | None,
) -> Cost:
    """Reads the output's gradient and what the derivative needs, writes the input's gradient.

    Args:
        call: The call, whose shapes give the traffic.
        operations: On single elements.
        needed: Bytes that the derivative is computed from, beside the gradient.
        allocated: What is created and outlives the phase; ``None`` if unknown.
    """
    return phase_cost(
        elementwise=operations,
        read=total([operand_bytes(call, call.outputs[:1], "output gradient"), needed]),
        write=input_bytes(call),
        allocated=allocated,
    )


def input_phases(call: Call, forward: Cost, grad_input: Cost) -> dict[Phase, Cost]:
    """The forward, and the gradient of the input if the backward pass computes it."""
    costs = {Phase.FORWARD: forward}
    if needs_input_gradient(call):
        costs[Phase.GRAD_INPUT] = grad_input
    return costs


def pass_through_costs(call: Call, *, allocated: Sequence[NamedTensor] | None) -> PhaseCosts:
    """Costs of a layer that hands its input on, and the gradient back.

    Args:
        call: The call.
        allocated: Of each phase; ``None`` if it depends on the memory layout.
    """
    nothing = phase_cost(read=ZERO, write=ZERO, allocated=allocated)
    return input_phases(call, nothing, nothing)
