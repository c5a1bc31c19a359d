"""Captures of live calls: what is kept, what is refused, and that nothing is touched."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_profile.counters import CallCapture
from lightning_profile.counters.capture import MAX_GEOMETRIES
from lightning_profile.counters.package import load_package
from lightning_profile.records import UnavailableCause
from tests.counters.captures import as_layer, capture_step, package_of


def _backward(module: nn.Module, *shapes: tuple[int, ...]) -> Callable[[], None]:
    def step() -> None:
        for shape in shapes:
            module(torch.ones(shape)).sum().backward()

    return step


def test_calls_of_one_geometry_are_kept_once_and_counted(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)
    captured = capture_step(tmp_path, module, _backward(module, (2, 4), (2, 4), (5, 4)))
    assert [(call.calls, call.backward_calls) for call in captured.calls] == [(2, 2), (1, 1)]
    assert len(list(tmp_path.glob("*.pt"))) == 2


def test_a_call_without_gradient_has_no_backward(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)

    def step() -> None:
        module(torch.ones(2, 4))  # the loss does not use it
        with torch.no_grad():
            module(torch.ones(2, 4))

    captured = capture_step(tmp_path, module, step)
    assert [(call.calls, call.backward_calls) for call in captured.calls] == [(1, 0), (1, 0)]
    packages = [load_package(call.package) for call in captured.calls if call.package]
    assert [package.settings.has_gradients for package in packages] == [True, False]
    assert [package.gradients for package in packages] == [(), ()]


def test_the_gradient_is_of_a_call_that_has_one(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)

    def step() -> None:
        module(torch.ones(2, 4))
        module(torch.ones(2, 4)).sum().backward()

    captured = capture_step(tmp_path, module, step)
    assert [(call.calls, call.backward_calls) for call in captured.calls] == [(2, 1)]
    assert load_package(package_of(captured)).gradients[0] is not None


def test_layers_that_are_alike_share_a_package(tmp_path: Path) -> None:
    first, second, other = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
    capture = CallCapture(
        [as_layer(first, "a"), as_layer(second, "b"), as_layer(other, "c")], tmp_path
    )
    capture.attach()
    nn.Sequential(first, second, other)(torch.ones(2, 4).requires_grad_()).sum().backward()
    captured = capture.detach()
    (call_a,), (call_b,), (call_c,) = (layer.calls for layer in captured)
    assert call_a.geometry == call_b.geometry != call_c.geometry
    assert [call.package is None for call in (call_a, call_b, call_c)] == [False, True, False]


def test_what_a_module_does_not_print_keeps_it_apart(tmp_path: Path) -> None:
    inputs = torch.ones(2, 3, 8)
    geometries = []
    for name, heads in (("a", 2), ("b", 4)):  # the number of heads is not printed
        module = nn.MultiheadAttention(8, heads)

        def step(module: nn.Module = module) -> None:
            module(inputs, inputs, inputs)

        captured = capture_step(tmp_path, module, step, name=name)
        geometries.append(captured.calls[0].geometry)
    assert geometries[0] != geometries[1]


def test_a_forward_that_is_repeated_in_the_backward_is_not_a_call(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)

    def step() -> None:
        inputs = torch.ones(2, 4, requires_grad=True)
        checkpoint(module, inputs, use_reentrant=False).sum().backward()

    captured = capture_step(tmp_path, module, step)
    assert [(call.calls, call.backward_calls) for call in captured.calls] == [(1, 1)]


def test_a_forward_that_raises_is_no_call(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)

    def step() -> None:
        with pytest.raises(RuntimeError):
            module(torch.ones(2, 5))
        module(torch.ones(2, 4)).sum().backward()

    captured = capture_step(tmp_path, module, step)
    assert [(call.calls, call.backward_calls) for call in captured.calls] == [(1, 1)]


def test_a_layer_that_was_not_called_has_nothing(tmp_path: Path) -> None:
    captured = capture_step(tmp_path, nn.Linear(4, 3), lambda: None)
    assert captured.calls == ()
    assert captured.unavailable is None


class TakesAnything(nn.Module):
    def forward(self, value: Any) -> Any:
        return value


class WithLambda(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)
        self.scale = lambda value: value * 2.0

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scale(super().forward(inputs))


def _sparse() -> Tensor:
    return torch.eye(3).to_sparse()


@pytest.mark.parametrize(
    ("module", "value", "says"),
    [
        (TakesAnything(), _sparse(), "layout torch.sparse_coo"),
        (TakesAnything(), object(), "type object"),
        (TakesAnything(), {1, 2}, "type set"),
        (TakesAnything(), 3, "without tensors"),
        (WithLambda(), torch.ones(2, 4), "pickled"),
    ],
)
def test_what_can_not_be_kept_says_why(
    module: nn.Module, value: object, says: str, tmp_path: Path
) -> None:
    captured = capture_step(tmp_path, module, lambda: module(value))
    assert captured.calls == ()
    assert captured.unavailable is not None
    assert captured.unavailable.cause is UnavailableCause.NOT_CAPTURED
    assert says in captured.unavailable.text
    assert not list(tmp_path.glob("*.pt"))


def test_a_class_in_the_script_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TakesAnything, "__module__", "__main__")
    module = nn.Sequential(TakesAnything())
    captured = capture_step(tmp_path, module, lambda: module(torch.ones(1)))
    assert captured.unavailable is not None
    assert "TakesAnything is defined in the script" in captured.unavailable.reason
    assert "can be imported" in captured.unavailable.remedy


def test_a_scripted_and_a_compiled_layer_are_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        scripted = torch.jit.script(nn.Linear(4, 3))
    captured = capture_step(tmp_path, scripted, lambda: scripted(torch.ones(2, 4)))
    assert captured.unavailable is not None
    assert "ScriptModule" in captured.unavailable.reason
    module = nn.Linear(4, 3)
    captured = capture_step(tmp_path, module, lambda: None, in_compiled_graph=True)
    assert captured.unavailable is not None
    assert "torch.compile" in captured.unavailable.reason


def test_more_geometries_than_can_be_kept_are_refused(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)
    shapes = [(rows, 4) for rows in range(1, MAX_GEOMETRIES + 2)]
    captured = capture_step(tmp_path, module, _backward(module, *shapes))
    assert captured.unavailable is not None
    assert f"more than {MAX_GEOMETRIES}" in captured.unavailable.reason
    assert captured.calls == ()


def test_hooks_of_the_user_are_not_in_the_package_but_their_arguments_are(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)
    module.register_forward_pre_hook(lambda _, args: (args[0] * 2.0,))
    module.register_forward_hook(lambda _, __, output: output * 3.0)
    module.register_full_backward_hook(lambda *_: None)
    inputs = torch.ones(2, 4, requires_grad=True)
    captured = capture_step(tmp_path, module, lambda: module(inputs).sum().backward())
    package = load_package(package_of(captured))
    hooks = [value for name, value in vars(package.module).items() if name.endswith("_hooks")]
    assert hooks
    assert not any(hooks)
    assert package.args[0].storage.tolist() == [2.0] * 8
    (gradient,) = package.gradients
    assert gradient is not None
    assert gradient.restore().tolist() == [[3.0] * 3] * 2  # of what the layer itself returned
    assert module._forward_hooks  # the user's are still there
    assert module._forward_pre_hooks


def test_hooks_are_gone_after_the_step_and_stay_out_of_copies(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)
    capture = CallCapture([as_layer(module)], tmp_path)
    capture.attach()
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: S301
        twin(torch.ones(2, 4))
    assert capture.detach()[0].calls == ()
    assert not module._forward_hooks
    assert not module._forward_pre_hooks
    capture.detach()
