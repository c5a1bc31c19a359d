"""Whatever is handed to the callback works, or is an error that says what would be right."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

import lightning_profile
from lightning_profile import LayerProfiler, LayerSelectionError, Schedule
from lightning_profile.selection import select_layers

PACKAGE = Path(lightning_profile.__file__).parent


class Unshowable:
    """Raises when it is shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not now")


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=20),
    st.text(max_size=20),
    st.sampled_from(
        [int, object, nn.Linear, nn.Module, nn.Sequential, type, re.compile("a"), ..., print]
    ),
    st.builds(Unshowable),
    st.sampled_from([torch.ones(3), torch.tensor(3), np.zeros((2, 2)), np.array("fc")]),
    st.sampled_from([nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)), nn.ModuleDict()]),
)
anything = st.recursive(
    scalars,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.tuples(inside),
        st.dictionaries(st.text(max_size=5), inside, max_size=3),
    ),
    max_leaves=6,
)
patterns = st.one_of(
    st.text(max_size=30),
    st.text("acnov2dL[]!^-*?.\\|&~(){}+$:, \n", max_size=30),
    st.sampled_from(["fc", "Conv2d-1", "a[0]", "all", "*", "", "[", "[]", "[!]", "[z-a]", "[[a]"]),
    st.sampled_from(["*" * 5000, "[" * 5000, "a*" * 500, "x" * 100_000, "\ud800", "\0", "ſ", "🦊"]),
)


def shared() -> nn.Module:
    layer = nn.Linear(2, 2)
    return nn.ModuleDict({"one": layer, "two": nn.Sequential(layer)})


def oddly_named() -> nn.Module:
    model = nn.Module()
    for name in ("a[0]", "*", "all", "with space", "two\nlines", "[!x]", "ſ", "🦊", "(model)", "-"):
        model.add_module(name, nn.Linear(1, 1))
    return model


MODELS: list[Callable[[], nn.Module]] = [
    nn.Module,
    nn.Sequential,
    shared,
    oddly_named,
    lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2)), nn.Conv2d(1, 1, 1)),
    lambda: nn.Linear(2, 2),
]


def refused(make: Callable[[], object]) -> bool:
    """Whether it was; by us, on purpose, and in one or two lines."""
    refusal: Exception | None = None
    try:
        make()
    except (ValueError, TypeError) as error:
        refusal = error
    if refusal is None:
        return False
    message = str(refusal)
    assert type(refusal) in (ValueError, TypeError, LayerSelectionError)
    assert 1 <= len(message.splitlines()) <= 2, message
    assert len(message) < 1000, message
    assert re.search(r"must be|are|is named by|is called|was named|has no", message), message
    where = traceback.extract_tb(refusal.__traceback__)[-1]
    assert Path(where.filename).is_relative_to(PACKAGE), where
    assert (where.line or "").startswith("raise "), where
    return True


@settings(deadline=None, max_examples=150)
@given(anything)
@example(10**5000)
@example(list[int])
def test_layers_of_any_type(layers: Any) -> None:
    if not refused(lambda: LayerProfiler(layers)):
        refused(lambda: select_layers(shared(), layers))


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(["empirical_roofline", "figures", "trace"]), anything)
@example("trace", "my_trace.json")
def test_switches_of_any_value(name: str, value: Any) -> None:
    is_switch = isinstance(value, bool)
    assert refused(lambda: LayerProfiler(**{name: value})) is not is_switch


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(MODELS), patterns | st.lists(patterns, max_size=3))
@example(oddly_named, "x")
@example(oddly_named, "*")
def test_patterns_of_any_characters(model: Callable[[], nn.Module], layers: Any) -> None:
    made = model()
    if not refused(lambda: select_layers(made, layers)):
        modules = list(made.modules())
        selected = select_layers(made, layers).rows
        assert selected
        assert all(any(layer.module is each for each in modules) for layer in selected)


@pytest.mark.parametrize("name", [name for name, _ in oddly_named().named_children()])
def test_a_layer_with_an_odd_name_is_found_by_it(name: str) -> None:
    selected = [layer.qualified_name for layer in select_layers(oddly_named(), name).rows]
    assert name in selected


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(["wait", "warmup", "active", "max_share"]), anything, max_size=4
    )
)
@example({"wait": -(10**5000)})
@example({"wait": 0, "warmup": 0, "active": 10**100})
@example({"max_share": float("nan")})
@example({"max_share": 10**400})
def test_schedules_of_any_values(values: dict[str, Any]) -> None:
    if not refused(lambda: Schedule(**values)):
        schedule = Schedule(**values)
        assert schedule.shrink_to(5).steps <= max(5, schedule.wait)
        assert re.fullmatch(r"wait \d+, warmup \d+, active \d+", str(schedule))
    else:
        share = values.pop("max_share", None)
        is_share = share is None or (type(share) in (int, float) and 0 < share <= 1)
        assert not (is_share and all(type(each) is int and each > 0 for each in values.values()))


@settings(deadline=None, max_examples=150)
@given(anything)
def test_a_schedule_that_is_none(schedule: Any) -> None:
    assert refused(lambda: LayerProfiler(schedule=schedule)) == (schedule is not None)


@settings(deadline=None, max_examples=150)
@given(anything | st.lists(st.sampled_from(["train", "validate", "test", "Train", ""]), max_size=3))
@example([])
@example(None)
@example({})
@example(["train", ["validate"]])
def test_stages_of_any_value(stages: Any) -> None:
    known = ("train", "validate")
    is_right = (isinstance(stages, str) and stages in known) or (
        isinstance(stages, (list, tuple))
        and len(stages) > 0
        and all(isinstance(each, str) and each in known for each in stages)
    )
    assert refused(lambda: LayerProfiler(stages=stages)) == (not is_right)


def test_patterns_that_can_be_read_once_are_read_once() -> None:
    callback = LayerProfiler(name for name in ("one", "two"))  # type: ignore[arg-type]
    assert callback.patterns == ["one", "two"]
