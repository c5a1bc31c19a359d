"""Real windows on small models of every family that torchvision classifies images with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.maxvit import MaxVit

from lightning_profile.attribution import attribute
from lightning_profile.comparison import compare
from lightning_profile.measurement.tensors import tensors_in
from lightning_profile.records import Comparison
from lightning_profile.theory import KnownTheory
from tests.recording import record


@dataclass(frozen=True)
class Family:
    """How to make a small model of it, and the smallest images that it takes."""

    make: Callable[[], nn.Module]
    size: int = 32
    has_attention: bool = False


FAMILIES: Mapping[str, Family] = {
    "alexnet": Family(models.alexnet, size=63),
    "convnext_tiny": Family(models.convnext_tiny),
    "densenet121": Family(models.densenet121),
    "efficientnet_b0": Family(models.efficientnet_b0),
    "googlenet": Family(partial(models.googlenet, init_weights=False)),
    "inception_v3": Family(
        # The auxiliary classifier needs images of 299 × 299.
        partial(models.inception_v3, init_weights=False, aux_logits=False),
        size=75,
    ),
    "maxvit, two blocks": Family(
        partial(
            MaxVit,
            input_size=(56, 56),
            stem_channels=16,
            partition_size=7,
            block_channels=[16, 32],
            block_layers=[1, 1],
            head_dim=8,
            stochastic_depth_prob=0.1,
            num_classes=10,
        ),
        size=56,
        has_attention=True,
    ),
    "mnasnet0_5": Family(models.mnasnet0_5),
    "mobilenet_v2": Family(models.mobilenet_v2),
    "mobilenet_v3_small": Family(models.mobilenet_v3_small),
    "regnet_x_400mf": Family(models.regnet_x_400mf),
    "regnet_y_400mf": Family(models.regnet_y_400mf),
    "resnet18": Family(models.resnet18),
    "resnext50_32x4d": Family(models.resnext50_32x4d),
    "shufflenet_v2_x0_5": Family(models.shufflenet_v2_x0_5),
    "squeezenet1_1": Family(models.squeezenet1_1),
    "swin_t": Family(models.swin_t, has_attention=True),
    "swin_v2_t": Family(models.swin_v2_t, has_attention=True),
    "vgg11": Family(models.vgg11),
    "vit_b_16": Family(partial(models.vit_b_16, image_size=32), has_attention=True),
    "wide_resnet50_2": Family(models.wide_resnet50_2),
}

# Swin's attention uses the weights of these, and calls neither.
LENDS_ITS_WEIGHT = ("attn.qkv", "attn.proj")


@dataclass(frozen=True)
class RecordedStep:
    """What a window says of all layers, and the FLOPs counted over all recorded operators."""

    comparisons: tuple[Comparison, ...]
    counted_flop: int

    @property
    def product_layers(self) -> list[Comparison]:
        """Forward and backward of the convolutions and linear layers that are called."""
        return [
            each
            for each in self.comparisons
            if each.layer is not None
            and isinstance(each.layer.module, (nn.Conv2d, nn.Linear))
            and not each.layer.qualified_name.endswith(LENDS_ITS_WEIGHT)
        ]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps this small are slower on several, by far if other processes are at work too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def recorded_step(name: str) -> RecordedStep:
    family = FAMILIES[name]
    model = family.make()
    images = torch.rand(2, 3, family.size, family.size)

    def step() -> None:
        model.zero_grad()
        outputs: list[Tensor] = list(tensors_in(model(images)))
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])

    layers, recording = record(model, "all", step)
    reported = {layer.qualified_name for layer in layers if layer.has_row}
    rows = attribute(recording.ops, recording.calls, memory_device="cpu", reported=reported)
    return RecordedStep(
        comparisons=tuple(
            compare(layers, KnownTheory().cost_calls(layers, recording.calls), rows, [0])
        ),
        counted_flop=sum(op.counted_flop or 0 for op in recording.ops),
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_counted_equals_theory_for_every_convolution_and_linear_layer(name: str) -> None:
    rows = recorded_step(name).product_layers
    assert {each.phase.value for each in rows} == {"forward", "backward"}
    for each in rows:
        assert each.cost is not None, each
        assert each.measured is not None, each
        assert each.measured.counted_flop == each.cost.flop > 0, each


@pytest.mark.parametrize("name", FAMILIES)
def test_the_own_parts_of_all_rows_add_up_to_all_recorded_operators(name: str) -> None:
    step = recorded_step(name)
    measured = [each for each in step.comparisons if each.measured is not None]
    assert any(each.layer is None for each in measured)
    assert [each.note for each in measured if each.measured.own.counted_flop is None] == []
    own = [each.measured.own.counted_flop for each in measured]
    assert sum(own) == step.counted_flop > 0


@pytest.mark.parametrize(
    "name", [name for name, each in FAMILIES.items() if not each.has_attention]
)
def test_every_counted_flop_is_a_convolutions_or_a_linear_layers(name: str) -> None:
    step = recorded_step(name)
    assert sum(each.measured.counted_flop for each in step.product_layers) == step.counted_flop


def test_attention_has_products_beside_those_of_its_layers() -> None:
    for name, family in FAMILIES.items():
        if family.has_attention:
            step = recorded_step(name)
            in_layers = sum(each.measured.counted_flop for each in step.product_layers)
            assert 0 < in_layers < step.counted_flop
