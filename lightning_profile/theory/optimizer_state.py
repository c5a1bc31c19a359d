"""Closed forms of what PyTorch's optimizers keep per parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from torch import nn, optim

from lightning_profile.records import Equation
from lightning_profile.theory.expression import symbol, total

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


def optimizer_states(
    optimizers: Sequence[optim.Optimizer], layers: Sequence[Mapping[str, nn.Parameter]]
) -> list[Equation | None]:
    """What the optimizers keep on paper for the parameters of each layer, in bytes.

    Args:
        optimizers: All optimizers of the training.
        layers: The parameters of each layer by name.

    Returns:
        Per layer, the sum over the trainable parameters that an optimizer updates; ``None`` if
        one of them is updated by an optimizer whose state is not known here.
    """
    owners: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for position, parameters in enumerate(layers):
        for name, parameter in parameters.items():
            if parameter.requires_grad:
                owners[id(parameter)].append((position, name))
    kept: list[list[_Kept]] = [[] for _ in layers]
    unknown: set[int] = set()
    for optimizer in optimizers:
        rule = _RULES.get(type(optimizer))
        for group in optimizer.param_groups:
            tensors, scalar_bytes = (0, 0) if rule is None else rule(group)
            for parameter in group["params"]:
                for position, name in owners.get(id(parameter), ()):
                    if rule is None:
                        unknown.add(position)
                    kept[position].append(_Kept(name, parameter.nbytes, tensors, scalar_bytes))
    return [
        None if position in unknown else _equation(tuple(each))
        for position, each in enumerate(kept)
    ]


class _Kept(NamedTuple):
    """What an optimizer keeps for one parameter: tensors like it, and a scalar."""

    parameter: str
    parameter_bytes: int
    tensors: int
    scalar_bytes: int


@lru_cache(maxsize=1024)  # the same in each window of a training
def _equation(kept: Sequence[_Kept]) -> Equation:
    terms = []
    for name, parameter_bytes, tensors, scalar_bytes in kept:
        if tensors:
            terms.append(symbol("tensors kept", tensors) * symbol(f"{name} bytes", parameter_bytes))
        if scalar_bytes:
            terms.append(symbol("step counter", scalar_bytes))
    return total(terms).equation("optimizer_state_bytes", "B")
