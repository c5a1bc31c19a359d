"""Every layer of every classification model of torchvision against torch's own FLOP counter."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.regnet import BlockParams

from lightning_profile.measurement.calls import CallRecorder
from lightning_profile.measurement.tensors import tensors_in
from lightning_profile.records import CostedCall, Phase, TensorFact
from lightning_profile.theory import KnownTheory
from tests.theory.calls import layer_of

MODELS = torchvision.models.list_models(module=torchvision.models)
WITHOUT_ATTENTION = [name for name in MODELS if not name.startswith(("maxvit", "swin", "vit"))]
UNGROUPED = [
    name
    for name in MODELS
    if name.startswith(
        ("alexnet", "densenet", "googlenet", "inception", "resnet", "squeezenet", "vgg", "wide_")
    )
]

# Attention that uses a layer's weight without calling the layer.
LENDS_ITS_WEIGHT = ("attn.qkv", "attn.proj", "self_attention.out_proj")

Flop = Mapping[Phase, int]
Geometry = tuple[str, tuple[int, ...], bool]


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer: FLOPs in theory and by torch's counter, per product."""

    layer: str
    groups: int
    geometry: Geometry
    theory: Flop
    oracle: Flop


@dataclass(frozen=True)
class ModelStep:
    """A forward and a backward of a model: its layers' calls, and the whole by torch's counter."""

    calls: tuple[LayerCall, ...]
    uncalled: frozenset[str]
    forward_flop: int
    flop: int


@cache
def model_step(name: str) -> ModelStep:
    model = build_on_meta(name)
    layers = [
        replace(layer_of(module), qualified_name=path)
        for path, module in model.named_modules()
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))
    ]
    recorder = CallRecorder(layers)
    recorder.attach()
    recorder.step = 0
    size = 299 if name == "inception_v3" else 224
    with FlopCounterMode(display=False) as counter:
        outputs = list(tensors_in(model(torch.empty(2, 3, size, size, device="meta"))))
        forward_flop = counter.get_total_flops()
        torch.autograd.backward(outputs, [torch.empty_like(output) for output in outputs])
    recorder.detach()
    assert recorder.fault is None

    modules = {layer.qualified_name: layer.module for layer in layers}
    calls = [
        layer_call(modules[costed.call.layer], costed)
        for costed in KnownTheory().cost_calls(layers, recorder.calls)
        if costed is not None
    ]
    assert len(calls) == len(recorder.calls)
    uncalled = modules.keys() - {call.layer for call in calls}
    return ModelStep(tuple(calls), frozenset(uncalled), forward_flop, counter.get_total_flops())


def layer_call(module: nn.Module, costed: CostedCall) -> LayerCall:
    assert costed.costs is not None, costed.reason
    (source,) = costed.call.inputs
    geometry = (repr(module), source.shape, source.requires_grad)
    if geometry not in _COUNTED:
        _COUNTED[geometry] = count_alone(module, source)
    return LayerCall(
        layer=costed.call.layer,
        groups=groups_of(module),
        geometry=geometry,
        theory={phase: cost.flop for phase, cost in costed.costs.items()},
        oracle=_COUNTED[geometry],
    )


_COUNTED: dict[Geometry, Flop] = {}


def count_alone(module: nn.Module, source_fact: TensorFact) -> Flop:
    """FlopCounterMode's count of each product of a copy of the layer."""
    lone = copy.deepcopy(module)
    requires_grad = source_fact.requires_grad
    source = torch.empty(source_fact.shape, device="meta", requires_grad=requires_grad)
    with FlopCounterMode(display=False) as counter:
        output = lone(source)
    flop = {Phase.FORWARD: counter.get_total_flops()}
    if requires_grad:
        flop[Phase.GRAD_INPUT] = count_gradient(output, source)
    # The counter multiplies all input channels with all output channels, whatever the groups.
    grad_weight, remainder = divmod(count_gradient(output, lone.weight), groups_of(module))
    assert not remainder
    return {**flop, Phase.GRAD_WEIGHT: grad_weight}


def count_gradient(output: Tensor, of: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(output, of, torch.empty_like(output), retain_graph=True)
    return counter.get_total_flops()


def groups_of(module: nn.Module) -> int:
    return getattr(module, "groups", 1)


def build_on_meta(name: str) -> nn.Module:
    """The model without memory for its weights, in training mode."""
    options = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(BlockParams, "from_init_params", staticmethod(_block_widths_on_the_cpu))
        return torchvision.models.get_model(name, weights=None, **options).train()


_BLOCK_WIDTHS = BlockParams.from_init_params


def _block_widths_on_the_cpu(*args: Any, **kwargs: Any) -> BlockParams:
    """RegNet computes its widths by tensors, whose values it needs."""
    with torch.device("cpu"):
        return _BLOCK_WIDTHS(*args, **kwargs)


@pytest.mark.parametrize("name", MODELS)
def test_each_product_of_every_layer_equals_flop_counter_mode(name: str) -> None:
    step = model_step(name)
    assert step.calls
    for call in step.calls:
        assert call.theory == call.oracle, call


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_is_called_unless_attention_uses_its_weight(name: str) -> None:
    uncalled = model_step(name).uncalled
    assert {layer for layer in uncalled if not layer.endswith(LENDS_ITS_WEIGHT)} == set()


@pytest.mark.parametrize("name", WITHOUT_ATTENTION)
def test_the_layers_of_a_model_without_attention_add_up_to_its_step(name: str) -> None:
    step = model_step(name)
    forward = sum(call.theory[Phase.FORWARD] for call in step.calls)
    grad_input = sum(call.theory.get(Phase.GRAD_INPUT, 0) for call in step.calls)
    grad_weight = sum(call.groups * call.theory[Phase.GRAD_WEIGHT] for call in step.calls)
    assert forward == step.forward_flop
    assert forward + grad_input + grad_weight == step.flop  # groups times, as it is over-counted


@pytest.mark.parametrize("name", UNGROUPED)
def test_the_layers_of_an_ungrouped_model_add_up_to_its_step_as_they_are(name: str) -> None:
    step = model_step(name)
    assert all(call.groups == 1 for call in step.calls)
    assert sum(sum(call.theory.values()) for call in step.calls) == step.flop


def test_only_models_with_attention_or_groups_are_not_added_up() -> None:
    for name in set(MODELS) - set(WITHOUT_ATTENTION):
        step = model_step(name)
        assert sum(call.oracle[Phase.FORWARD] for call in step.calls) < step.forward_flop
    for name in set(WITHOUT_ATTENTION) - set(UNGROUPED):
        assert any(call.groups > 1 for call in model_step(name).calls)


def test_many_models_layers_and_geometries_were_checked() -> None:
    calls = [call for name in MODELS for call in model_step(name).calls]
    assert len(MODELS) >= 80
    assert len(WITHOUT_ATTENTION) >= 68
    assert len(UNGROUPED) >= 24
    assert len(calls) >= 6900
    assert len({call.geometry for call in calls}) >= 1400
    assert sum(call.groups > 1 for call in calls) >= 1100
