"""Closed forms of what PyTorch's optimizers keep per parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn, optim

from lightning_profile.records import Equation
from lightning_profile.theory.expression import Expression, symbol, total

_STEP_BYTES = 4  # a float32 scalar tensor that counts the updates

# Per optimizer: the number of tensors of the parameter's shape, and bytes of scalars beside them.
# Read from torch/optim/*.py (`_init_group`), torch 2.14.
_Rule = Callable[[Mapping[str, Any]], tuple[int, int]]
_RULES: dict[type[optim.Optimizer], _Rule] = {
    optim.SGD: lambda group: (int(group["momentum"] != 0), 0),
    optim.Adam: lambda group: (3 if group["amsgrad"] else 2, _STEP_BYTES),
    optim.AdamW: lambda group: (3 if group["amsgrad"] else 2, _STEP_BYTES),
    optim.Adadelta: lambda group: (2, _STEP_BYTES),
    optim.Adagrad: lambda group: (1, _STEP_BYTES),
    optim.RMSprop: lambda group: (
        1 + int(group["momentum"] > 0) + int(group["centered"]),
        _STEP_BYTES,
    ),
}


def optimizer_state(
    optimizers: Sequence[optim.Optimizer], parameters: Mapping[str, nn.Parameter]
) -> Equation | None:
    """What the optimizers keep for ``parameters`` on paper, in bytes.

    Args:
        optimizers: All optimizers of the training.
        parameters: The parameters of one layer by name.

    Returns:
        The sum over the trainable parameters that an optimizer updates; ``None`` if one of
        them is updated by an optimizer whose state is not known here.
    """
    names = {id(value): name for name, value in parameters.items() if value.requires_grad}
    terms: list[Expression] = []
    for optimizer in optimizers:
        rule = _RULES.get(type(optimizer))
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in names:
                    continue
                if rule is None:
                    return None
                tensors, scalar_bytes = rule(group)
                parameter_bytes = symbol(f"{names[id(parameter)]} bytes", parameter.nbytes)
                if tensors:
                    terms.append(symbol("tensors kept", tensors) * parameter_bytes)
                if scalar_bytes:
                    terms.append(symbol("step counter", scalar_bytes))
    return total(terms).equation("optimizer_state_bytes", "B")
