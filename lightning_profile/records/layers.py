"""What is looked at: layers of a model and their calls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from torch import dtype, nn

ROOT_NAME = "(model)"  # the qualified name of the model itself


class Phase(str, Enum):
    """The part of a training step that a cost or a measurement belongs to."""

    FORWARD = "forward"  #: The layer's call.
    RECOMPUTE = "recompute"  #: A forward that the backward repeats, when checkpointing.
    GRAD_INPUT = "grad_input"  #: The part of the backward that computes gradients of inputs.
    GRAD_WEIGHT = "grad_weight"  #: The part of it that computes gradients of parameters.
    BACKWARD = "backward"  #: Both together, as they are measured.

    # Equal to its text, so found by it, too; and without a call of Python for each look-up.
    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A module of the model that is watched.

    Attributes:
        qualified_name: The module's path in the model, such as ``backbone.conv2``.
        display_name: Type and position among its type, such as ``Conv2d-2``.
        type_name: The module's class name; of a parametrized or lazy module, what it really is.
        module: The live module; records never change it.
        entry: The module whose call is watched: the wrapper that ``torch.compile`` put around
            ``module`` if there is one, as nothing inside of a compiled graph can be seen.
        is_container: Whether it has layers inside.
        has_row: Whether it is reported; a layer inside of a chosen container is only watched.
        needs_own_work: Whether it is reported only if operators of its own ran, which none of
            the reported layers inside of it ran.
        in_compiled_graph: Whether it runs inside of a graph of ``torch.compile``.
        fused_in: The ``nn.TransformerEncoderLayer``, or one of a subclass, that it is or is in, if
            any. In evaluation torch may compute that at once, unless a module in it has a forward
            hook.
    """

    qualified_name: str
    display_name: str
    type_name: str
    module: nn.Module
    entry: nn.Module
    is_container: bool = False
    has_row: bool = True
    needs_own_work: bool = False
    in_compiled_graph: bool = False
    fused_in: nn.TransformerEncoderLayer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFact:
    """What a formula may know of a tensor that went into a layer or came out.

    Attributes:
        name: The argument it came in, such as ``query``; empty for an output.
        shape: Its sizes, such as ``(128, 32, 26, 26)``.
        dtype: Its element type.
        requires_grad: Whether the backward pass reaches it.
        is_leaf: Whether it is no result of an operation that autograd recorded.
    """

    name: str
    shape: tuple[int, ...]
    dtype: dtype
    requires_grad: bool
    is_leaf: bool = False

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of its elements."""
        return self.elements * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterFact(TensorFact):
    """A parameter of a layer at the moment of a call.

    Attributes:
        name: The parameter's path in the layer.
        role: What it is to the layer: ``weight`` also for ``weight_g`` and ``weight_v`` or for
            ``parametrizations.weight.original0``, from which a weight is computed.
    """

    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One forward of a layer, as seen by its hooks.

    Attributes:
        layer: The layer's qualified name.
        step: The batch, counted from the start of the epoch.
        index: Which call of this layer in this step and phase, from 0.
        phase: A forward, or its recomputation inside of the backward.
        parent: Position, in the window's list, of the enclosing call of another watched layer.
        inputs: Every tensor among the arguments, in order.
        outputs: Every tensor among the outputs, in order.
        parameters: The layer's parameters, those of layers inside of it included.
        options: Arguments that are plain values, such as ``("is_causal", True)``.
        is_training: Whether the module was in training mode.
        device_type: Where the first output lies, ``cpu`` or ``cuda``.
        is_complete: False for a recomputation that ended early, with all it was needed for.
        activation_bytes: Of a layer's first forward, the storages that autograd keeps of it for
            the backward, parameters and buffers excluded; ``None`` if not read, or not readable.
    """

    layer: str
    step: int = 0
    index: int = 0
    phase: Phase = Phase.FORWARD
    parent: int | None = None
    inputs: tuple[TensorFact, ...] = ()
    outputs: tuple[TensorFact, ...] = ()
    parameters: tuple[ParameterFact, ...] = ()
    options: tuple[tuple[str, str | int | float | bool | None], ...] = ()
    is_training: bool = True
    device_type: str = "cpu"
    is_complete: bool = True
    activation_bytes: int | None = None

    @property
    def geometry(self) -> tuple[object, ...]:
        """All that a formula may depend on, to be compared; not which call it was, nor where."""
        return (
            self.phase,
            self.inputs,
            self.outputs,
            self.parameters,
            self.options,
            self.is_training,
            self.device_type,
            self.is_complete,
        )

    @property
    def dtype(self) -> dtype | None:
        """The first output's element type, ``None`` if there is no tensor output."""
        return self.outputs[0].dtype if self.outputs else None

    @property
    def input_requires_grad(self) -> bool:
        """Whether the backward pass computes a gradient of an input."""
        return any(tensor.requires_grad for tensor in self.inputs)

    @property
    def output_requires_grad(self) -> bool:
        """Whether there is a backward pass at all."""
        return any(tensor.requires_grad for tensor in self.outputs)

    def trains(self, role: str) -> bool:
        """Whether the backward pass computes a gradient of the parameter ``role``."""
        return self.output_requires_grad and any(
            parameter.requires_grad for parameter in self.parameters if parameter.role == role
        )

    def has(self, role: str) -> bool:
        """Whether the layer has the parameter ``role``."""
        return any(parameter.role == role for parameter in self.parameters)

    def option(self, name: str) -> str | int | float | bool | None:
        """A plain argument by name; ``None`` if it was not given."""
        return dict(self.options).get(name)
