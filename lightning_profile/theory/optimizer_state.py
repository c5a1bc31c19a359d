"""Closed forms of what PyTorch's optimizers keep per parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn, optim

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


def optimizer_state_bytes(
    optimizers: Sequence[optim.Optimizer], parameters: Sequence[nn.Parameter]
) -> int | None:
    """Bytes that the optimizers keep for ``parameters`` on paper.

    Args:
        optimizers: All optimizers of the training.
        parameters: The parameters of one layer.

    Returns:
        The sum over the trainable parameters that an optimizer updates, ``None`` if one of
        them is updated by an optimizer whose state is not known here.
    """
    wanted = {id(parameter) for parameter in parameters if parameter.requires_grad}
    state_bytes = 0
    for optimizer in optimizers:
        rule = _RULES.get(type(optimizer))
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in wanted:
                    continue
                if rule is None:
                    return None
                tensors, scalar_bytes = rule(group)
                state_bytes += tensors * parameter.nbytes + scalar_bytes
    return state_bytes
