"""Pen and paper: what a layer should cost, and how the numbers came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightning_profile.records.layers import Call, Layer, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """One line of a derivation.

    Attributes:
        quantity: What is computed, such as ``FLOPs``.
        symbols: Its formula, such as ``2 · N``.
        numbers: The formula with the numbers put in, such as ``2 · 128``.
        value: What comes out.
        unit: Of the value, such as ``FLOP`` or ``B``.
    """

    quantity: str
    symbols: str
    numbers: str
    value: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatedTensor:
    """A tensor that a phase has to create and leaves alive.

    Attributes:
        name: What it is, such as ``output`` or ``gradient of weight``.
        bytes: Of its elements.
    """

    name: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a phase of a layer should cost on paper; ``None`` where no closed form says it.

    Attributes:
        flop: Additions and multiplications of the products, two per multiply-accumulate.
        elementwise_flop: Operations on single elements: bias, normalisation, activation.
        read_bytes: Compulsory reads from DRAM, each operand once.
        write_bytes: Compulsory writes to DRAM, each result once.
        allocated_bytes: Tensors that the phase has to create and leave alive.
        tensors: Each of these; ``None`` if only their sum is known, or nothing.
        derivation: How each number came about, line by line.
    """

    flop: int
    elementwise_flop: int | None
    read_bytes: int | None
    write_bytes: int | None
    allocated_bytes: int | None
    tensors: tuple[AllocatedTensor, ...] | None = None
    derivation: tuple[Equation, ...] = ()


PhaseCosts = Mapping[Phase, Cost]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostedCall:
    """A call with what it should cost.

    Attributes:
        call: The call.
        costs: Per phase (forward, grad_input, grad_weight); ``None`` if unknown.
        reason: Why they are unknown, empty if they are not.
        footprint: Of a complete call of a layer without layers inside, one equation per quantity
            of :class:`Footprint` with a closed form, the optimizer's state apart.
    """

    call: Call
    costs: PhaseCosts | None
    reason: str = ""
    footprint: tuple[Equation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a layer keeps in memory, by what it is kept for; in bytes.

    Attributes:
        parameter_bytes: Weights and biases.
        gradient_bytes: Gradients of the parameters.
        optimizer_state_bytes: What the optimizer keeps for them (momenta, step counters).
        activation_bytes: Tensors kept from the forward for the backward, parameters excluded.
        output_bytes: The layer's output.
    """

    parameter_bytes: int | None
    gradient_bytes: int | None
    optimizer_state_bytes: int | None
    activation_bytes: int | None
    output_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """The pen-and-paper side of one layer, from its first call in a window.

    Attributes:
        layer: The layer.
        call: The call whose geometry was used.
        costs: Cost per product; ``None`` if unknown.
        reason: Why, if so.
        footprint: Its equations, with that of the optimizer's state.
    """

    layer: Layer
    call: Call
    costs: PhaseCosts | None
    footprint: tuple[Equation, ...]
    reason: str = ""
