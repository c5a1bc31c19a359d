"""Puts the cost of a phase together, and the costs of layers that are one product.

Conventions of every formula here: a multiply-accumulate is 2 FLOPs. Traffic is compulsory, that
is each operand read once and each result written once. Operands have the output's element type
(autocast's, where that is on); gradients of parameters are kept in the parameters' own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning_profile.records import (
    AllocatedTensor,
    Call,
    Cost,
    Equation,
    Phase,
    PhaseCosts,
    TensorFact,
)
from lightning_profile.theory.expression import ZERO, Expression, symbol, total
from lightning_profile.theory.tensors import (
    NamedTensor,
    gradients_of,
    operand_tensors,
    output_tensors,
    parameter_gradients,
    total_bytes,
)


def phase_cost(
    *,
    flop: Expression = ZERO,
    elementwise: Expression = ZERO,
    elementwise_name: str = "element-wise",
    read: Expression | None = None,
    write: Expression | None = None,
    allocated: Sequence[NamedTensor] | Expression | None = None,
    preamble: tuple[Equation, ...] = (),
) -> Cost:
    """A cost from its formulas.

    Args:
        flop: Products, in FLOP: 2 per multiply-accumulate.
        elementwise: Operations on single elements, in FLOP.
        elementwise_name: What those are, for the derivation.
        read: Compulsory reads, in bytes; ``None`` if unknown, as for the next two.
        write: Compulsory writes, in bytes.
        allocated: What is created and outlives the phase: tensor by tensor, or only their bytes.
        preamble: Lines that come before in the derivation, such as output sizes.

    Returns:
        The cost of one phase of one call.
    """
    tensors = _tensors(allocated)
    if allocated is not None and not isinstance(allocated, Expression):
        allocated = total_bytes(allocated)
    lines = [
        (flop, "FLOPs", "FLOP"),
        (elementwise, elementwise_name, "FLOP"),
        (read, "compulsory reads", "B"),
        (write, "compulsory writes", "B"),
        (allocated, "allocated", "B"),
    ]
    return Cost(
        flop=flop.value,
        elementwise_flop=elementwise.value,
        read_bytes=_value(read),
        write_bytes=_value(write),
        allocated_bytes=_value(allocated),
        tensors=tensors,
        derivation=preamble
        + tuple(
            formula.equation(name, unit)
            for formula, name, unit in lines
            if formula is not None and formula.value
        ),
    )


def in_bytes(elements: Expression, item_bytes: Expression) -> Expression:
    """``elements`` times their size; nothing if there are none."""
    return elements * item_bytes if elements.value else ZERO


def operand_bytes(call: Call, tensors: Iterable[TensorFact], name: str) -> Expression:
    """Bytes of ``tensors`` as the layer's operands, one term for each."""
    return total_bytes(operand_tensors(call, tensors, name))


def product_costs(call: Call, multiply_accumulates: Expression | int) -> PhaseCosts:
    """Costs of a layer that is one product of its inputs with its parameters, and a ``bias``.

    Each gradient that the backward computes takes as many multiply-accumulates again. This is
    the formula for a layer of your own whose forward is a matrix product in other clothes.

    Args:
        call: The call, whose shapes give the traffic.
        multiply_accumulates: How many the forward of this call does, 2 FLOPs each. An
            :class:`Expression` shows in the derivation how it came about.

    Returns:
        The costs of ``forward`` and, if the backward computes them, of ``grad_input`` and
        ``grad_weight``.
    """
    if isinstance(multiply_accumulates, int):
        multiply_accumulates = symbol("multiply-accumulates", multiply_accumulates)
    flop = 2 * multiply_accumulates
    inputs = operand_bytes(call, call.inputs, "input")
    outputs = operand_bytes(call, call.outputs, "output")
    parameters = operand_bytes(call, call.parameters, "parameter")
    bias = symbol("output elements", call.outputs[0].elements) if call.has("bias") else ZERO
    costs = {
        Phase.FORWARD: phase_cost(
            flop=flop,
            elementwise=bias,
            elementwise_name="bias additions",
            read=total([inputs, parameters]),
            write=outputs,
            allocated=output_tensors(call),
        )
    }
    if not call.output_requires_grad:
        return costs
    if call.input_requires_grad:
        wanted = [each for each in call.inputs if each.requires_grad]
        gradients = gradients_of(operand_tensors(call, wanted, "input"))
        weights = [each for each in call.parameters if each.role != "bias"]
        costs[Phase.GRAD_INPUT] = phase_cost(
            flop=flop,
            read=total([outputs, operand_bytes(call, weights, "parameter")]),
            write=total_bytes(gradients),
            allocated=gradients,
        )
    trained = [each for each in call.parameters if each.requires_grad]
    if trained:
        is_product = any(each.role != "bias" for each in trained)
        costs[Phase.GRAD_WEIGHT] = phase_cost(
            flop=flop if is_product else ZERO,
            elementwise=bias if call.trains("bias") else ZERO,
            elementwise_name="bias gradient additions",
            read=total([outputs, inputs if is_product else ZERO]),
            write=operand_bytes(call, trained, "parameter"),
            allocated=parameter_gradients(trained),
        )
    return costs


def _tensors(
    allocated: Sequence[NamedTensor] | Expression | None,
) -> tuple[AllocatedTensor, ...] | None:
    """Those that are not empty; unknown if only their bytes are given, unless there are none."""
    if allocated is None:
        return None
    if isinstance(allocated, Expression):
        return None if allocated.value else ()
    return tuple(
        AllocatedTensor(name=name, bytes=size.value) for name, size in allocated if size.value
    )


def _value(formula: Expression | None) -> int | None:
    return None if formula is None else formula.value
