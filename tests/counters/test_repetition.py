"""A captured call that is loaded again gives the same outputs and gradients, bit for bit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, rnn

from lightning_profile.counters.package import load_package
from lightning_profile.counters.repetition import Repetition
from lightning_profile.counters.tensors import leaves_of
from tests.counters.captures import capture_step, gradients_of, package_of


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


class TwoOutputs(nn.Module):
    """Takes and gives nested values; the loss leaves one output out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, pair: Pair, *, extra: dict[str, Any]) -> dict[str, Tensor]:
        hidden = self.linear(pair.left) + pair.right * extra["scales"][0]
        return {"used": hidden.sin(), "unused": hidden.cos()}


class InPlace(nn.Module):
    """Modifies its input, and its own intermediate result."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu_(self.linear(inputs.mul_(2.0)))


def _tensor(*shape: int, grad: bool = True) -> Tensor:
    return torch.randn(*shape, requires_grad=grad)


def _loss(output: Any) -> Tensor:
    (first, *_) = [leaf for leaf in leaves_of(output) if isinstance(leaf, Tensor)]
    return (first.float() ** 2).sum()


def _convolution() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    inputs = _tensor(2, 4, 6, 6, grad=False).to(memory_format=torch.channels_last)
    return nn.Conv2d(4, 8, 3, padding=1), (inputs.requires_grad_(),), {}


def _grouped() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    return nn.Conv2d(4, 8, 3, groups=4, stride=2), (_tensor(2, 4, 7, 7),), {}


def _self_attention() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    inputs = _tensor(2, 5, 8)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    return attention, (inputs, inputs, inputs), {"need_weights": False}


def _packed_lstm() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    packed = rnn.pack_padded_sequence(_tensor(5, 3, 4), torch.tensor([5, 3, 1]))
    return nn.LSTM(4, 6, num_layers=2), (packed,), {}


def _batch_norm() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    return nn.BatchNorm2d(3), (_tensor(4, 3, 5, 5),), {}


def _frozen_weight() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    module = nn.Linear(4, 3)
    module.weight.requires_grad_(requires_grad=False)
    return module, (_tensor(5, 4, grad=False),), {}


def _parametrized() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    return parametrizations.weight_norm(nn.Linear(4, 3)), (_tensor(5, 4),), {}


def _old_weight_norm() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(nn.Linear(4, 3)), (_tensor(5, 4),), {}


def _nested() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    pair = Pair(_tensor(3, 4), _tensor(3, 4))
    return TwoOutputs(), (pair,), {"extra": {"scales": [_tensor(1), 2.5], "mode": "x"}}


def _in_place() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    return InPlace(), (_tensor(3, 4) * 1.0,), {}


def _strange_strides() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    expanded = _tensor(1, 4).expand(6, 4)
    return nn.Bilinear(4, 4, 2), (expanded, _tensor(13, 8)[1::2, ::2]), {}


def _keep(arrived: dict[int, Tensor], position: int, gradient: Tensor) -> None:
    arrived[position] = gradient


CASES = [
    *(_convolution, _grouped, _self_attention, _packed_lstm, _batch_norm, _frozen_weight),
    *(_parametrized, _old_weight_norm, _nested, _in_place, _strange_strides),
]
Case = Callable[[], tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("has_autocast", [False, True], ids=["plain", "autocast"])
def test_outputs_and_gradients_are_the_live_ones(
    case: Case, has_autocast: bool, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    module, args, kwargs = case()
    live: dict[str, Any] = {}
    inputs = [
        leaf
        for leaf in dict.fromkeys(leaves_of((args, kwargs)))
        if isinstance(leaf, Tensor) and leaf.requires_grad
    ]
    arrived: dict[int, Tensor] = {}
    for position, tensor in enumerate(inputs):  # of the tensor as it was before it is modified
        tensor.register_hook(partial(_keep, arrived, position))

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_autocast):
            live["output"] = module(*args, **kwargs)
        _loss(live["output"]).backward()

    package = load_package(package_of(capture_step(tmp_path, module, step)))
    repetition = Repetition(package)
    output = repetition.forward(repetition.fresh_arguments())
    expected = [leaf for leaf in leaves_of(live["output"]) if isinstance(leaf, Tensor)]
    repeated = [leaf for leaf in leaves_of(output) if isinstance(leaf, Tensor)]
    assert len(expected) == len(repeated)
    for one, other in zip(expected, repeated, strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()
    gradients = repetition.backward(output)
    for name, expected_gradient in gradients_of(module).items():
        assert (expected_gradient is None) is (gradients.get(name) is None)
        if expected_gradient is not None:
            assert torch.equal(expected_gradient, gradients[name]), name
    for position, tensor in arrived.items():
        assert torch.equal(tensor, gradients[f"input {position}"]), position
    assert len(arrived) == len(inputs)
    assert all(parameter.grad is None for parameter in package.module.parameters())


def test_a_later_change_of_the_output_in_place_does_not_change_its_gradient(
    tmp_path: Path,
) -> None:
    module = nn.Linear(4, 3)
    inputs = _tensor(5, 4)

    def step() -> None:
        output = module(inputs)
        (torch.relu_(output) * 3.0).sum().backward()

    repetition = Repetition(load_package(package_of(capture_step(tmp_path, module, step))))
    output = repetition.forward(repetition.fresh_arguments())
    assert (output < 0).any()  # not the modified one
    assert torch.equal(repetition.backward(output)["weight"], module.weight.grad)


def test_it_can_be_repeated_many_times(tmp_path: Path) -> None:
    module, args, _ = _in_place()
    captured = capture_step(tmp_path, module, lambda: module(*args).sum().backward())
    repetition = Repetition(load_package(package_of(captured)))
    first = repetition.forward(repetition.fresh_arguments())
    repetition.warm_up()
    assert torch.equal(first, repetition.forward(repetition.fresh_arguments()))


def test_a_parametrization_is_computed_again_in_each_forward(tmp_path: Path) -> None:
    module, args, _ = _parametrized()
    captured = capture_step(tmp_path, module, lambda: module(*args).sum().backward())
    loaded = load_package(package_of(captured)).module
    assert parametrize.is_parametrized(loaded, "weight")
    assert isinstance(loaded, nn.Linear)
    before = loaded.weight.clone()
    with torch.no_grad():
        loaded.parametrizations.weight.original0.mul_(2.0)
    assert torch.equal(loaded.weight, before * 2.0)


def test_weights_of_an_lstm_stay_one_block_of_memory(tmp_path: Path) -> None:
    module = nn.LSTM(4, 6)
    together = torch.cat([weight.detach().flatten() for weight in module.parameters()])
    start = 0
    for weight in module.parameters():  # as cuDNN wants them, and flatten_parameters makes them
        weight.data = together[start : start + weight.numel()].view_as(weight)
        start += weight.numel()
    captured = capture_step(tmp_path, module, lambda: module(_tensor(2, 3, 4))[0].sum().backward())
    loaded = load_package(package_of(captured)).module
    assert len({weight.untyped_storage().data_ptr() for weight in loaded.parameters()}) == 1
