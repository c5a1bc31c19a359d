"""The tensors that a phase creates and leaves alive, each by its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lightning_profile.records import Call, TensorFact
from lightning_profile.theory.expression import Expression, symbol, total


class NamedTensor(NamedTuple):
    """A tensor that a phase creates.

    Attributes:
        name: What it is, such as ``output`` or ``gradient of weight``.
        bytes: Of its elements, as an expression.
    """

    name: str
    bytes: Expression


def total_bytes(tensors: Sequence[NamedTensor]) -> Expression:
    """Bytes of all of them."""
    return total([tensor.bytes for tensor in tensors])


def output_tensors(call: Call) -> list[NamedTensor]:
    """The outputs."""
    return operand_tensors(call, call.outputs, "output")


def input_gradients(call: Call) -> list[NamedTensor]:
    """A gradient for each input."""
    return gradients_of(operand_tensors(call, call.inputs, "input"))


def parameter_gradients(parameters: Iterable[TensorFact]) -> list[NamedTensor]:
    """A gradient for each of ``parameters``, in its own type."""
    return gradients_of(
        [NamedTensor(each.name, symbol(f"{each.name} bytes", each.bytes)) for each in parameters]
    )


def gradients_of(tensors: Iterable[NamedTensor]) -> list[NamedTensor]:
    """Tensors like those given that are their gradients."""
    return [NamedTensor(f"gradient of {each.name}", each.bytes) for each in tensors]


def operand_tensors(call: Call, tensors: Iterable[TensorFact], name: str) -> list[NamedTensor]:
    """Tensors as the layer's operands; ``name`` for those without one."""
    return [
        NamedTensor(
            each.name or name, symbol(f"{each.name or name} bytes", operand_size(call, each))
        )
        for each in tensors
    ]


def operand_size(call: Call, tensor: TensorFact) -> int:
    """Bytes of ``tensor`` as an operand.

    Autocast brings floating-point operands to the output's type; indices keep theirs.
    """
    if call.dtype is None or not tensor.dtype.is_floating_point:
        return tensor.bytes
    return tensor.elements * call.dtype.itemsize
