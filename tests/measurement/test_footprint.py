from __future__ import annotations

import torch
from torch import nn, optim

from lightning_profile.measurement import batch_size, measure_footprint
from lightning_profile.measurement.tensors import tensors_in


def test_what_lies_in_memory_is_read_off_the_tensors() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(3, 4))
    parameters = [*model[0].parameters()]
    optimizer = optim.Adam(model.parameters())
    before = measure_footprint(parameters, [optimizer], None)
    assert (before.parameter_bytes, before.gradient_bytes) == (4 * 20, 0)
    assert before.optimizer_state_bytes == 0
    model[0](torch.ones(1, 1, 5, 5)).sum().backward()
    optimizer.step()
    after = measure_footprint(parameters, [optimizer], None)
    assert after.gradient_bytes == 4 * 20
    assert after.optimizer_state_bytes == 2 * 4 * 20 + 2 * 4


def test_a_shared_storage_counts_once() -> None:
    flat = nn.Linear(2, 2, bias=False)
    flat.other = nn.Parameter(flat.weight.data.view(-1))
    assert measure_footprint([*flat.parameters()], [], None).parameter_bytes == 16


def test_tensors_are_found_wherever_they_are() -> None:
    a, b = torch.ones(3, 2), torch.tensor(1.0)
    assert list(tensors_in({"x": [b, "text"], "y": (a, None)})) == [b, a]
    assert batch_size({"x": [b, "text"], "y": (a, None)}) == 3
    assert batch_size("text") is None
