from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
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


def test_of_a_storage_only_what_is_the_layers_own_counts() -> None:
    one, other = nn.Linear(2, 2, bias=False), nn.Linear(3, 2, bias=False)
    bucket = torch.zeros(10)
    one.weight.grad, other.weight.grad = bucket[:4].view(2, 2), bucket[4:].view(2, 3)
    of_one, of_other = (measure_footprint([each.weight], [], None) for each in (one, other))
    assert (of_one.gradient_bytes, of_other.gradient_bytes) == (16, 24)
    one.weight.grad = torch.zeros(()).expand(2, 2)
    assert measure_footprint([one.weight], [], None).gradient_bytes == 4


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_a_tensor_without_a_storage_is_of_unknown_size() -> None:
    weight = nn.Parameter(torch.eye(3).to_sparse_csr())
    assert measure_footprint([weight], [], None).parameter_bytes is None
    assert measure_footprint([nn.LazyLinear(2).weight], [], None).parameter_bytes is None


def test_to_look_for_tensors_runs_no_code_of_the_users() -> None:
    class Lazy(dict):  # type: ignore[type-arg]
        def values(self) -> Any:
            raise AssertionError

        __iter__ = __getitem__ = values

    class LazyList(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            raise AssertionError

    class LazyTuple(tuple):  # type: ignore[type-arg]
        __slots__ = ()
        __iter__ = LazyList.__iter__

    class Other(Mapping):  # type: ignore[type-arg]
        __iter__ = __getitem__ = __len__ = Lazy.values

    @dataclass
    class Record:
        x: Any
        y: Any = None

        def __getattribute__(self, name: str) -> Any:
            if name != "__class__":  # which every isinstance asks for
                raise AssertionError
            return super().__getattribute__(name)

    @dataclass(slots=True)
    class Slotted:
        x: Any
        y: Any = None

    tensors = torch.ones(6).unbind()
    a, b, c, d, e, f = tensors
    dictionaries = (Lazy(x=a), Other(), UserDict(y=b))
    found = tensors_in((dictionaries, LazyList([c]), LazyTuple([d]), Record(e), Slotted(f)))
    assert [id(each) for each in found] == [id(each) for each in tensors]


def test_tensors_are_found_wherever_they_are() -> None:
    a, b = torch.ones(3, 2), torch.tensor(1.0)
    assert list(tensors_in({"x": [b, "text"], "y": (a, None)})) == [b, a]
    assert batch_size({"x": [b, "text"], "y": (a, None)}) == 3
    assert batch_size("text") is None
