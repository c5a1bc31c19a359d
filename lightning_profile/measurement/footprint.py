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
    """Bytes of the storages behind a layer's parameters and what belongs to them.

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
        for value in optimizer.state.get(parameter, {}).values()
        if isinstance(value, torch.Tensor)
    ]
    return Footprint(
        parameter_bytes=_storage_bytes(parameters),
        gradient_bytes=_storage_bytes(
            [parameter.grad for parameter in parameters if parameter.grad is not None]
        ),
        optimizer_state_bytes=_storage_bytes(state),
        activation_bytes=None if first_call is None else first_call.activation_bytes,
        output_bytes=None,
    )


def _storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    storages = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
