from __future__ import annotations

import pytest
from torch import nn
from torchmetrics import MeanMetric

from lightning_profile import LayerSelectionError
from lightning_profile.selection import list_layers, select_layers


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3))
        self.head = nn.Linear(3, 2)
        self.metric = MeanMetric()


def test_leaves_are_numbered_by_type_in_definition_order() -> None:
    assert [
        (layer.display_name, layer.qualified_name)
        for layer in list_layers(Model()).layers
        if not layer.is_container
    ] == [
        ("Conv2d-1", "body.0"),
        ("ReLU-1", "body.1"),
        ("Conv2d-2", "body.2"),
        ("Linear-1", "head"),
    ]


def test_display_and_qualified_names_select_each_layer_once_in_order() -> None:
    model = Model()
    selected = select_layers(model, ["head", "Conv2d-2", "body.2"]).rows
    assert [layer.qualified_name for layer in selected] == ["body.2", "head"]
    assert selected[0].module is model.body[2]


def test_an_unknown_name_lists_what_there_is_and_the_nearest() -> None:
    with pytest.raises(LayerSelectionError) as raised:
        select_layers(Model(), ["conv2d-3"])
    message = str(raised.value)
    assert "no layer is called 'conv2d-3' (did you mean 'Conv2d-" in message
    assert "Conv2d-2 (body.2), Linear-1 (head)" in message


def test_no_pattern_and_no_layers_are_errors_too() -> None:
    with pytest.raises(LayerSelectionError, match="no layer to profile was named"):
        select_layers(Model(), [])
    with pytest.raises(LayerSelectionError, match="the model has no layers"):
        select_layers(nn.Module(), ["Conv2d-1"])
