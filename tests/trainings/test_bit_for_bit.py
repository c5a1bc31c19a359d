"""With and without the callback: the same numbers, bit for bit, in every kind of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule

from tests.trainings.test_compile import part_in_place, whole_model, wrapped_part
from tests.trainings.untouched import CASES, ON_CPU_ONLY, Case, as_parameters, changes
from tests.trainings.watchful import compiled_function
from tests.trainings.witness import differences


@pytest.mark.parametrize("case", as_parameters(CASES | ON_CPU_ONLY))
def test_the_training_is_the_same(tmp_path: Path, case: Case) -> None:
    assert changes(tmp_path, case) == []


@pytest.fixture
def _forget_graphs() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("_forget_graphs")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize(
    "model", [wrapped_part, part_in_place, whole_model, compiled_function("aot_eager")]
)
def test_a_compiled_training_is_the_same(
    tmp_path: Path, model: Callable[[], LightningModule]
) -> None:
    assert changes(tmp_path, Case(model=model)) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2), -torch.zeros(2)),
        (torch.zeros(2), torch.zeros(2).double()),
        (torch.ones(1, 2), torch.ones(2, 1)),
        (torch.ones(2, 3), torch.ones(3, 2).t()),
        (0.3, 0.1 + 0.2),
        (1, 1.0),
        ([1], [1, 2]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.zeros(2), np.ones(2)),
    ],
)
def test_the_comparison_sees_a_single_bit(one: Any, other: Any) -> None:
    nan = torch.full((2,), float("nan"))
    assert differences([one, {"nan": nan}], [one, {"nan": nan.clone()}]) == []
    assert differences([one], [other])
