from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torchmetrics import MeanMetric, MetricCollection

from lightning_profile import LayerSelectionError
from lightning_profile.selection import list_layers, select_layers


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 4)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({"attn": Attention(), "mlp": nn.Linear(4, 4)}) for _ in range(3)
        )


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3))
        self.encoder = Encoder()
        self.head = nn.Linear(3, 2)
        self.metric = MeanMetric()
        self.metrics = MetricCollection({"mean": MeanMetric()})


def names(patterns: Any, model: nn.Module | None = None) -> list[str]:
    return [layer.qualified_name for layer in select_layers(model or Model(), patterns).rows]


def test_leaves_are_numbered_by_type_in_definition_order() -> None:
    layers = list_layers(Model()).layers
    assert [(each.display_name, each.qualified_name) for each in layers if not each.is_container][
        :5
    ] == [
        ("Conv2d-1", "body.0"),
        ("ReLU-1", "body.1"),
        ("Conv2d-2", "body.2"),
        ("Linear-1", "encoder.layers.0.attn.project"),
        ("Linear-2", "encoder.layers.0.mlp"),
    ]
    assert not [each for each in layers if "metric" in each.qualified_name]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("Conv2d-2", ["body.2"]),
        ("body.0", ["body.0"]),
        (["head", "Conv2d-2", "body.2"], ["body.2", "head"]),
        ("encoder.*.attn", [f"encoder.layers.{n}.attn" for n in range(3)]),
        ("*.mlp", [f"encoder.layers.{n}.mlp" for n in range(3)]),
        ("Conv2d-[12]", ["body.0", "body.2"]),
        ("Conv2d", ["body.0", "body.2"]),
        ("nn.Conv2d", ["body.0", "body.2"]),
        ("torch.nn.Conv2d", ["body.0", "body.2"]),
        (nn.Conv2d, ["body.0", "body.2"]),
        ([Attention, "head"], [*(f"encoder.layers.{n}.attn" for n in range(3)), "head"]),
        ("Attention", [f"encoder.layers.{n}.attn" for n in range(3)]),
        (f"{__name__}.Attention", [f"encoder.layers.{n}.attn" for n in range(3)]),
        ("body", ["body"]),
        ("(model)", ["(model)"]),
    ],
    ids=str,
)
def test_patterns(patterns: Any, expected: list[str]) -> None:
    assert names(patterns) == expected


def test_a_class_includes_its_subclasses_and_a_name_does_not() -> None:
    class Special(nn.Linear):
        pass

    model = nn.Sequential(Special(1, 1), nn.Linear(1, 1))
    assert names(nn.Linear, model) == ["0", "1"]
    assert names("Linear", model) == ["1"]
    assert names("Special", model) == ["0"]


def test_the_default_is_every_leaf_with_parameters() -> None:
    assert names(None) == [
        "body.0",
        "body.2",
        *(f"encoder.layers.{n}.{part}" for n in range(3) for part in ("attn.project", "mlp")),
        "head",
    ]
    with pytest.raises(LayerSelectionError, match="no layers with parameters"):
        select_layers(nn.Sequential(nn.ReLU()), None)


def test_all_is_every_leaf_and_containers_with_work_of_their_own() -> None:
    selection = select_layers(Model(), "all")
    assert {layer.qualified_name for layer in selection.rows} >= {"(model)", "body", "body.1"}
    assert all(layer.needs_own_work == layer.is_container for layer in selection.rows)


def test_a_chosen_container_is_shown_and_what_is_inside_is_only_watched() -> None:
    selection = select_layers(Model(), ["body", "all"])
    (body,) = [layer for layer in selection.rows if layer.qualified_name == "body"]
    assert not body.needs_own_work
    watched = {
        layer.qualified_name: layer.has_row for layer in select_layers(Model(), "body").watched
    }
    assert watched == {"body": True, "body.0": False, "body.1": False, "body.2": False}


def test_each_pattern_says_what_it_resolved_to() -> None:
    resolved = select_layers(Model(), ["Conv2d", nn.Linear]).resolved
    assert [(each.pattern, len(each.layers)) for each in resolved] == [("Conv2d", 2), ("Linear", 7)]


def test_a_shared_module_has_one_row_and_two_names() -> None:
    shared = nn.Linear(2, 2)
    model = nn.ModuleDict({"first": shared, "second": shared})
    assert names("second", model) == ["first"]
    assert names("Linear", model) == ["first"]


def test_parametrized_and_lazy_layers_are_what_they_are() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        parametrizations.weight_norm(nn.Conv2d(2, 2, 3)),
        parametrizations.spectral_norm(nn.Linear(2, 2)),
        nn.LazyConv2d(3, 3),
        nn.LazyBatchNorm2d(),
    )
    assert [layer.display_name for layer in select_layers(model, None).rows] == [
        "Conv2d-1",
        "Conv2d-2",
        "Linear-1",
        "Conv2d-3",
        "BatchNorm2d-1",
    ]


def test_attention_is_a_leaf_whose_projection_never_runs_by_itself() -> None:
    assert names(None, nn.Sequential(nn.MultiheadAttention(4, 2))) == ["0"]


def test_wrappers_of_torch_leave_names_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))
    model[1] = torch.compile(model[1], backend="eager")  # type: ignore[assignment]
    layers = {layer.qualified_name: layer for layer in list_layers(model).layers}
    assert list(layers) == ["(model)", "0", "1", "1.0"]
    assert layers["1"].entry is model[1]
    assert not layers["1"].in_compiled_graph
    assert layers["1.0"].in_compiled_graph
    # The wrapper is watched: its call is all that can be seen of what is inside.
    assert [each.qualified_name for each in select_layers(model, "1.0").watched] == ["1", "1.0"]


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("conv2d-3", "Conv2d-"),
        ("haed", "head"),
        ("Lineer", "Linear"),
        ("encoder.layers.0.atn", "encoder.layers.0.attn"),
    ],
)
def test_an_unknown_name_lists_what_there_is_and_the_nearest(pattern: str, nearest: str) -> None:
    with pytest.raises(LayerSelectionError) as raised:
        select_layers(Model(), [pattern])
    message = str(raised.value)
    assert f"no layer is called {pattern!r} (did you mean {nearest!r}" in message or (
        f"no layer is called {pattern!r} (did you mean '{nearest}" in message
    )
    assert "Conv2d-2 (body.2)" in message
    assert "\n" not in message


def test_no_pattern_and_no_layers_are_errors_too() -> None:
    with pytest.raises(LayerSelectionError, match="no layer to profile was named"):
        select_layers(Model(), [])
    with pytest.raises(LayerSelectionError, match="the model has no layers"):
        select_layers(nn.Module(), ["Conv2d-1"])
    for wrong in (3, [3], int):
        with pytest.raises(LayerSelectionError, match="by a string or by a class of modules, not"):
            select_layers(Model(), wrong)  # type: ignore[arg-type]
