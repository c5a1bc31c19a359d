"""What a layer's parameters, gradients and optimizer state take in memory, read off the tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import nn, optim

from lightning_profile.records import Call, Footprint


def measure_footprint(
    parameters: Collection[nn.Parameter],
    optimizers: Sequence[optim.Optimizer],
    first_call: Call | None,
) -> Footprint:
    """Bytes of a layer's parameters and what belongs to them.

    The output is gone once a step has ended, so it is ``None`` here.

    Args:
        parameters: The layer's.
        optimizers: All optimizers of the training.
        first_call: The layer's first call, which shows what was kept of it for the backward;
            ``None`` if it did not run.
    """
    state = [
        value
        for optimizer in optimizers
        for parameter in parameters
        for value in _state(optimizer, parameter)
        if isinstance(value, torch.Tensor)
    ]
    return Footprint(
        parameter_bytes=_bytes(parameters),
        gradient_bytes=_bytes(
            [parameter.grad for parameter in parameters if parameter.grad is not None]
        ),
        optimizer_state_bytes=_bytes(state),
        activation_bytes=None if first_call is None else first_call.activation_bytes,
        output_bytes=None,
    )


def _state(optimizer: optim.Optimizer, parameter: nn.Parameter) -> Iterable[object]:
    """What is kept for one parameter; in a list LBFGS has what it keeps for all of them."""
    state = optimizer.state.get(parameter, {})
    return state.values() if isinstance(state, dict) else (state,)


def _bytes(tensors: Iterable[torch.Tensor]) -> int | None:
    """What ``tensors`` have in memory, equal ones once; ``None`` if it can't be told.

    Not of whole storages: other layers' tensors can be in them, as in DDP's buckets of gradients.
    """
    stretches: dict[tuple[int, int], int] = {}
    try:
        for tensor in tensors:
            for part in _dense_parts(tensor):
                size = min(part.nbytes, part.untyped_storage().nbytes())  # less if it is expanded
                place = (part.untyped_storage().data_ptr(), int(part.storage_offset()))
                stretches[place] = max(size, stretches.get(place, 0))
    except (RuntimeError, NotImplementedError, ValueError):  # no storage, or not yet
        return None
    return sum(stretches.values())


def _dense_parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A sparse tensor, such as an embedding's gradient, is its indices and its values."""
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    return (tensor,)
