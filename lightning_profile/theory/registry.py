"""From a module's type to its formulas."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

from torch import nn

from lightning_profile.faults import describe_fault
from lightning_profile.records import Call, CostedCall, Equation, Layer, PhaseCosts
from lightning_profile.theory.expression import Expression, symbol, total

UNSUPPORTED = "no theory for {}"
OTHER_FORWARD = "no theory for {}, whose forward is not {}'s"
UNFIT = "no theory for such a call of {}"
HIDDEN_SIZES = (
    "no theory for this call of {}: its tensors don't show their sizes, as nested ones and those "
    "inside of torch.func.vmap"
)
ENDED_EARLY = "the recomputation of {} ended early, with all that the backward needs"
FAULTY = "the formula for {} failed: {}"


@singledispatch
def phase_costs(module: nn.Module, call: Call) -> PhaseCosts | None:
    """Theoretical cost of one complete call of ``module``.

    Args:
        module: The layer. Only its settings may be read: to read the weight of a parametrized
            layer is to compute it, which can change the training.
        call: The shapes and element types that it was called with.

    Returns:
        The cost of the forward and of each gradient that the call's backward pass computes;
        ``None`` if no formula is registered for this type of layer, or none for such a call.
    """
    return None


@singledispatch
def kept_activations(module: nn.Module, call: Call) -> Expression | None:
    """Bytes of the tensors that ``module`` keeps from forward to backward, parameters excluded.

    Args:
        module: The layer, as for :func:`phase_costs`.
        call: The shapes and element types that it was called with.

    Returns:
        An expression in bytes; ``None`` without a registered formula.
    """
    return None


def cost_call(layer: Layer, call: Call) -> CostedCall:
    """Theory of one call, or why there is none; never an error."""
    costs, reason = _costs(layer, call)
    is_whole = call.is_complete and not layer.is_container
    return CostedCall(
        call=call,
        costs=costs,
        reason=reason,
        footprint=footprint(layer, call) if is_whole else (),
    )


def _costs(layer: Layer, call: Call) -> tuple[PhaseCosts | None, str]:
    formula = _formula(phase_costs, layer)
    if isinstance(formula, str):
        return None, formula
    if not call.is_complete:
        return None, ENDED_EARLY.format(layer.type_name)
    unfit = UNFIT if call.inputs and call.outputs else HIDDEN_SIZES
    try:
        costs = formula(layer.module, call)
    except Exception as fault:
        text = FAULTY if unfit is UNFIT else unfit
        return None, text.format(layer.type_name, describe_fault(fault))
    if costs is not None and not isinstance(costs, Mapping):
        return None, FAULTY.format(layer.type_name, f"it gave {costs!r}, not costs by phase")
    return costs, "" if costs is not None else unfit.format(layer.type_name)


def footprint(layer: Layer, call: Call) -> tuple[Equation, ...]:
    """What ``layer`` keeps in memory on paper, the optimizer's state apart.

    Returns:
        One equation per quantity that has a closed form, named as the fields of
        :class:`~lightning_profile.records.Footprint`.
    """
    parameters = total([symbol(f"{each.name} bytes", each.bytes) for each in call.parameters])
    trained = [each for each in call.parameters if each.requires_grad]
    gradients = total([symbol(f"{each.name} bytes", each.bytes) for each in trained])
    outputs = total([symbol("output bytes", each.bytes) for each in call.outputs])
    equations = [
        parameters.equation("parameter_bytes", "B"),
        gradients.equation("gradient_bytes", "B"),
        outputs.equation("output_bytes", "B"),
    ]
    formula = _formula(kept_activations, layer)
    kept = None
    if not isinstance(formula, str):
        with contextlib.suppress(Exception):  # the costs' formula has failed too, and says why
            kept = formula(layer.module, call)
    if kept is not None:
        equations.insert(2, kept.equation("activation_bytes", "B"))
    return tuple(equations)


def _formula(registry: Any, layer: Layer) -> Callable[[nn.Module, Call], Any] | str:
    """The formula registered for the layer's type, or why it has none.

    A formula describes the forward of the type that it was registered for. A subclass inherits
    it with that forward; one with a forward of its own is another layer.
    """
    kind = type(layer.module)
    registered = next((base for base in kind.__mro__ if base in registry.registry), object)
    if registered is object:
        return UNSUPPORTED.format(layer.type_name)
    own_forward = getattr(registered, "forward", None)
    if kind.forward is not own_forward or "forward" in vars(layer.module):
        return OTHER_FORWARD.format(layer.type_name, registered.__name__)
    formula: Callable[[nn.Module, Call], Any] = registry.dispatch(kind)
    return formula
