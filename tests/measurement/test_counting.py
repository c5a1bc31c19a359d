from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from lightning_profile.attribution import attribute
from lightning_profile.comparison import compare
from lightning_profile.measurement.arguments import NO_ARGUMENTS
from lightning_profile.measurement.counting import counted_flop, lacks_formula
from lightning_profile.records import Phase
from lightning_profile.theory import KnownTheory
from tests.recording import record

LAYERS = [
    nn.Conv2d(4, 6, 3),
    nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, dilation=2, bias=False),
    nn.Conv2d(4, 6, 3, groups=2),
    nn.Conv2d(4, 4, 3, groups=4, padding="same"),
    nn.Conv2d(4, 6, 2, padding="same"),
    nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
    nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    nn.Conv2d(4, 6, 3, padding="same", padding_mode="replicate"),
    nn.Conv1d(4, 6, 3, stride=2, groups=2),
    nn.Conv3d(4, 6, 2, padding=1),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("input_needs_gradient", [True, False])
def test_counted_and_allocated_equal_theory_in_a_real_step(
    layer: nn.Module, input_needs_gradient: bool
) -> None:
    model = nn.Sequential(layer)
    size = {nn.Conv1d: (9,), nn.Conv2d: (9, 8), nn.Conv3d: (5, 6, 7)}[type(layer)]
    source = torch.ones(2, 4, *size, requires_grad=input_needs_gradient)
    weights = torch.ones_like(model(source))  # a gradient that is not expanded, as in a network

    def step() -> None:
        source.grad = None
        model.zero_grad()
        (model(source) * weights).sum().backward()

    layers, recording = record(model, ["0"], step)
    costed = KnownTheory().cost_calls(layers, recording.calls)
    rows = attribute(recording.ops, recording.calls, memory_device="cpu")
    for comparison in compare(layers, costed, rows, [0]):
        if comparison.layer is None:
            continue
        assert comparison.cost is not None
        assert comparison.measured is not None
        assert comparison.measured.counted_flop == comparison.cost.flop
        if _is_circular(layer) and comparison.phase is Phase.BACKWARD and input_needs_gradient:
            # Undone slice by slice: the engine's sums of the slices' gradients come on top.
            assert comparison.measured.allocated_bytes > comparison.cost.allocated_bytes
        else:
            assert comparison.measured.allocated_bytes == comparison.cost.allocated_bytes


def _is_circular(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.padding_mode == "circular"


@dataclass
class Recorded:
    """A recorded operator."""

    own: int = 0
    of: Sequence[Sequence[int]] = ()
    arguments: Sequence[Any] = ()

    def flops(self) -> int:
        return self.own

    def shapes(self) -> Sequence[Sequence[int]]:
        return self.of

    def concrete_inputs(self) -> Sequence[Any]:
        return self.arguments


def test_the_profilers_own_count_comes_first_and_elementwise_is_apart() -> None:
    assert counted_flop("aten::mm", Recorded(24, [[2, 3], [3, 2]])) == (24, None)
    assert counted_flop("aten::add", Recorded(7, [[7], [7]])) == (None, 7)
    assert counted_flop("aten::relu", Recorded(0, [[7]])) == (None, None)


def test_a_transposed_convolution_is_counted_on_its_input() -> None:
    once = 2 * (2 * 25) * (4 * 3 * 2 * 2)
    forward = Recorded(
        of=[[2, 4, 5, 5], [4, 3, 2, 2], [], [], [], [], [], [], []],
        arguments=[None, None, None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1],
    )
    assert counted_flop("aten::convolution", forward) == (once, None)
    backward = Recorded(
        of=[[2, 3, 10, 10], [2, 4, 5, 5], [4, 3, 2, 2], *[[]] * 8],
        arguments=[*[None] * 4, [2, 2], [0, 0], [1, 1], True, [0, 0], 1, [True, True, False]],
    )
    assert counted_flop("aten::convolution_backward", backward) == (2 * once, None)


def test_cudnns_recurrent_layers_are_counted_from_their_list_of_weights() -> None:
    # As recorded on an H100 (torch 2.11): an LSTM of 8 to 4 units, 2 layers, both directions.
    weights = [[16, 8], [16, 4], [16, 1], [16]] * 4  # under autocast a bias has two dimensions
    once = 2 * 10 * 4 * (16 * 8 + 16 * 4)

    def count(name: str, parameters: list[list[int]], *arguments: Any) -> int | None:
        operator = Recorded(of=[[5, 2, 8], parameters], arguments=[None, None, *arguments])
        return counted_flop(f"aten::_cudnn_rnn{name}", operator)[0]

    assert count("", weights, 4) == once
    assert count("_backward", weights, 4, [True, False, False, True]) == 2 * once
    assert count("_backward", weights, 4, [True, False, False, False]) == once
    projected = [[16, 8], [16, 3], [16], [16], [3, 4]]
    assert count("", projected, 5) == 2 * 10 * (16 * 8 + 16 * 3 + 3 * 4)
    assert count("", [[16, 1], [16, 4]], 2) == 2 * 10 * (16 + 64)


@pytest.mark.parametrize(
    "name",
    [
        "aten::_scaled_dot_product_flash_attention",
        "aten::_scaled_dot_product_flash_attention_backward",
        "aten::mkldnn_rnn_layer",
        "aten::_cudnn_rnn",
        "aten::_int_mm",
        "aten::mv",
        "aten::addmv",
    ],
)
def test_an_operator_that_its_formula_does_not_fit_is_unknown(name: str) -> None:
    assert counted_flop(name, NO_ARGUMENTS) == (None, None)
    assert lacks_formula(name, is_leaf=False)


@pytest.mark.parametrize(
    ("name", "is_leaf", "expected"),
    [
        ("aten::relu", True, False),
        ("aten::linalg_vector_norm", True, False),
        ("aten::linalg_inv_ex", True, True),
        ("aten::_fft_r2c", True, True),
        ("aten::_scaled_dot_product_attention_math", False, False),  # its parts are counted
        ("aten::_scaled_dot_product_mystery", False, True),
        ("quantized::linear_dynamic", False, True),
        ("quantized::conv2d_relu", False, True),
        ("quantized::batch_norm2d", False, False),
        ("mine::fused", True, True),
        ("mine::composed", False, False),
        ("torchvision::nms", True, False),
        ("torchvision::deform_conv2d", True, True),
        ("torch::autograd::GraphRoot", True, False),
        ("autograd::engine::evaluate_function: AddmmBackward0", True, False),
        ("gloo:all_reduce", True, False),
        ("Torch-Compiled Region: 0/0", False, True),
    ],
)
def test_what_may_do_products_without_a_formula(name: str, is_leaf: bool, expected: bool) -> None:
    assert lacks_formula(name, is_leaf=is_leaf) is expected


def test_products_in_place_are_counted() -> None:
    assert counted_flop("aten::addmm_", Recorded(of=[[2, 4], [2, 3], [3, 4]])) == (48, None)
    batches = Recorded(of=[[5, 2, 4], [5, 2, 3], [5, 3, 4]])
    assert counted_flop("aten::baddbmm_", batches) == (5 * 48, None)
    assert counted_flop("aten::addbmm", batches) == (5 * 48, None)


def test_arguments_that_were_not_recorded_make_it_unknown() -> None:
    without_values = Recorded(of=[[2, 4, 5, 5], [4, 4, 1, 1]])
    assert counted_flop("aten::convolution", without_values) == (None, None)
    assert lacks_formula("aten::convolution", is_leaf=False)
    assert counted_flop("aten::convolution_backward", Recorded(of=[[], [], []])) == (None, None)
