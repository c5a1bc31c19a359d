"""What a layer's parameters, gradients and optimizer state take in memory, read off the tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import optim

from lightning_profile.records import Footprint, Layer


def measure_footprint(layer: Layer, optimizers: Sequence[optim.Optimizer]) -> Footprint:
    """Bytes of the storages behind the layer's parameters and what belongs to them.

    Activations are looked at during the step, and the output is gone once it has ended, so they
    are ``None`` here.
    """
    parameters = list(layer.module.parameters())
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
            parameter.grad for parameter in parameters if parameter.grad is not None
        ),
        optimizer_state_bytes=_storage_bytes(state),
        activation_bytes=None,
        output_bytes=None,
    )


def _storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    storages = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
