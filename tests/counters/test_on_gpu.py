"""Counters of a real GPU: executed against pen and paper.

Each count starts the tool anew, which takes about 15 s, so that one run counts many layers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from lightning_profile.counters import (
    HardwareCounters,
    LayerPhase,
    deviation_reason,
    other_kernels,
)
from lightning_profile.counters.settings import read_settings, write_switches
from lightning_profile.counters.tool import find_tool
from lightning_profile.records import HardwareCount, Phase, Unavailable, UnavailableCause
from tests.conftest import train
from tests.counters.captures import as_layer
from tests.counters.outputs import PRODUCT_FLOP
from tests.counters.test_capture import Capturing, NoisyCnn

pytestmark = pytest.mark.gpu

BATCH = 128
Counts = Mapping[LayerPhase, HardwareCount | Unavailable]


class Example(NamedTuple):
    """A layer, its input, and FLOPs of its products on paper, per product."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    product_flop: int


def _conv2() -> nn.Module:
    return nn.Conv2d(32, 64, 3)


CONV2 = Example(_conv2, (BATCH, 32, 26, 26), PRODUCT_FLOP)
OTHERS = {
    "linear": Example(lambda: nn.Linear(9216, 128), (BATCH, 9216), 2 * BATCH * 9216 * 128),
    "grouped": Example(
        lambda: nn.Conv2d(64, 64, 3, padding=1, groups=4),
        (32, 64, 28, 28),
        2 * 32 * 64 * 28 * 28 * 16 * 9,
    ),
    "depthwise": Example(
        lambda: nn.Conv2d(64, 64, 3, padding=1, groups=64),
        (32, 64, 28, 28),
        2 * 32 * 64 * 28 * 28 * 9,
    ),
    "norm": Example(lambda: nn.BatchNorm2d(64), (32, 64, 28, 28), 0),
}


@pytest.fixture(scope="module", autouse=True)
def _needs_the_tool() -> None:
    if find_tool(os.environ) is None:
        pytest.skip("needs Nsight Compute's ncu")


@pytest.fixture(autouse=True)
def _switches_are_put_back() -> Iterator[None]:
    before = read_settings("cuda")
    yield
    write_switches(before)


def _step(
    counters: HardwareCounters,
    modules: Mapping[str, nn.Module],
    inputs: Mapping[str, Tensor],
    autocast: torch.dtype | None = None,
) -> Counts:
    """Count one step that calls every module once."""
    layers = [as_layer(module, name) for name, module in modules.items()]
    capture = counters.capture(layers)
    capture.attach()
    with torch.autocast("cuda", dtype=autocast, enabled=autocast is not None):
        outputs = {name: module(inputs[name]) for name, module in modules.items()}
    sum((output.float() ** 2).mean() for output in outputs.values()).backward()  # type: ignore[union-attr]
    return counters.count(capture.detach())


def _inputs(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(3)
    return torch.randn(*shape, device="cuda", dtype=dtype, requires_grad=True)


def _counted(counts: Counts, name: str, phase: Phase) -> HardwareCount:
    count = counts[name, phase]
    assert isinstance(count, HardwareCount), count.text
    return count


def _show(name: str, count: HardwareCount, theoretical_flop: int) -> None:
    print(
        f"\n{name} {count.phase.value}: executed {count.hardware_flop} theory {theoretical_flop} "
        f"elementwise {count.hardware_elementwise_flop} read {count.dram_read_bytes} "
        f"write {count.dram_write_bytes} time {count.time_ns} "
        f"[{deviation_reason(count, theoretical_flop)}] beside: {other_kernels(count)}"
    )
    for kernel in count.kernels:
        print(f"    {kernel.product_flop} {kernel.time_ns} ns {kernel.name[:150]}")


PRECISIONS = {
    "fp32": ("fma", "fp32", torch.float32, "ieee"),
    "tf32": ("tensor", "tf32", torch.float32, "tf32"),
    "bf16": ("tensor", "bf16", torch.bfloat16, "tf32"),
    "fp16": ("tensor", "fp16", torch.float16, "tf32"),
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_examples_convolution_in_every_precision(precision: str) -> None:
    unit, arithmetic, dtype, float32 = PRECISIONS[precision]
    torch.backends.cudnn.conv.fp32_precision = float32
    counters = HardwareCounters()
    module = CONV2.make().to("cuda", dtype)
    counts = _step(counters, {"conv2": module}, {"conv2": _inputs(CONV2.shape, dtype)})
    counters.close()
    forward = _counted(counts, "conv2", Phase.FORWARD)
    backward = _counted(counts, "conv2", Phase.BACKWARD)
    _show(f"conv2 {precision}", forward, PRODUCT_FLOP)
    _show(f"conv2 {precision}", backward, 2 * PRODUCT_FLOP)
    assert forward.hardware_flop == PRODUCT_FLOP  # to the digit
    executed = {(part.unit, part.arithmetic): part.flop for part in forward.executed}
    assert executed[unit, arithmetic] >= PRODUCT_FLOP
    reason = deviation_reason(backward, 2 * PRODUCT_FLOP)
    assert (reason == "") is (
        abs((backward.hardware_flop or 0) - 2 * PRODUCT_FLOP) <= 0.02 * PRODUCT_FLOP
    )
    assert "reason unknown" not in reason
    # At least the input and the weight are read, the caches being empty before.
    assert (forward.dram_read_bytes or 0) >= dtype.itemsize * BATCH * 32 * 26 * 26


@pytest.fixture(scope="module")
def other_counts() -> Counts:
    counters = HardwareCounters(time_limit_s=240.0)
    modules = {name: example.make().cuda() for name, example in OTHERS.items()}
    inputs = {name: _inputs(example.shape) for name, example in OTHERS.items()}
    return _step(counters, modules, inputs)


@pytest.mark.parametrize("name", OTHERS)
def test_other_layers(name: str, other_counts: Counts) -> None:
    theory = OTHERS[name].product_flop
    forward = _counted(other_counts, name, Phase.FORWARD)
    backward = _counted(other_counts, name, Phase.BACKWARD)
    _show(name, forward, theory)
    _show(name, backward, 2 * theory)
    if not theory:
        assert forward.hardware_flop == backward.hardware_flop == 0
        assert (forward.hardware_elementwise_flop or 0) > 0
        return
    assert (forward.hardware_flop or 0) > 0
    for count, expected in ((forward, theory), (backward, 2 * theory)):
        is_near = abs((count.hardware_flop or 0) - expected) <= 0.01 * expected
        assert (deviation_reason(count, expected) == "") is is_near


def test_a_linear_layer_executes_what_theory_says(other_counts: Counts) -> None:
    for phase, products in ((Phase.FORWARD, 1), (Phase.BACKWARD, 2)):
        count = _counted(other_counts, "linear", phase)
        assert deviation_reason(count, products * OTHERS["linear"].product_flop) == ""


def test_an_autocast_layer_runs_on_the_tensor_cores_in_bf16() -> None:
    counters = HardwareCounters()
    modules = {"conv2": CONV2.make().cuda()}
    counts = _step(counters, modules, {"conv2": _inputs(CONV2.shape)}, torch.bfloat16)
    counters.close()
    forward = _counted(counts, "conv2", Phase.FORWARD)
    assert forward.hardware_flop == PRODUCT_FLOP
    executed = {(part.unit, part.arithmetic): part.flop for part in forward.executed}
    assert executed["tensor", "bf16"] == PRODUCT_FLOP


def test_layers_that_are_alike_are_counted_once_and_calls_are_summed() -> None:
    counters = HardwareCounters()
    first, second = nn.Linear(256, 256).cuda(), nn.Linear(256, 256).cuda()
    model = nn.Sequential(first, second, second)
    capture = counters.capture([as_layer(first, "first"), as_layer(second, "second")])
    capture.attach()
    model(_inputs((64, 256))).sum().backward()
    counts = counters.count(capture.detach())
    once = _counted(counts, "first", Phase.FORWARD)
    twice = _counted(counts, "second", Phase.FORWARD)
    assert (once.calls, twice.calls) == (1, 2)
    assert once.hardware_flop == 2 * 64 * 256 * 256
    assert twice.hardware_flop == 2 * (once.hardware_flop or 0)
    again = counters.capture([as_layer(first, "first")])
    again.attach()
    first(_inputs((64, 256))).sum().backward()
    captured = again.detach()
    assert [call.package for layer in captured for call in layer.calls] == [None]
    assert _counted(counters.count(captured), "first", Phase.FORWARD) == once
    counters.close()


def _device_times_ns(module: nn.Module, inputs: Tensor) -> dict[str, list[int]]:
    """Durations by kernel's name, from torch.profiler."""
    for _ in range(3):
        module(inputs)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        for _ in range(5):
            module(inputs)
        torch.cuda.synchronize()
    times: dict[str, list[int]] = {}
    for event in recorded.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.device_type() == torch.autograd.DeviceType.CUDA:
            times.setdefault(_base(event.name()), []).append(event.duration_ns())
    return times


def _base(name: str) -> str:
    """What two tools, which write types and namespaces differently, agree on."""
    return re.sub(r"[^a-z0-9]", "", name.lower().removeprefix("void ").split("<")[0].split("(")[0])


def test_durations_agree_with_torch_profiler_for_long_kernels() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    module, inputs = CONV2.make().cuda(), _inputs((1024, 32, 26, 26))
    counters = HardwareCounters()
    forward = _counted(
        _step(counters, {"conv2": module}, {"conv2": inputs}), "conv2", Phase.FORWARD
    )
    counters.close()
    times = _device_times_ns(module, inputs)
    compared = 0
    for kernel in forward.kernels:
        durations = sorted(times.get(_base(kernel.name), []))
        theirs = durations[len(durations) // 2] if durations else None
        print(
            f"\n{kernel.time_ns} ns under ncu, {theirs} ns in torch.profiler: {kernel.name[:100]}"
        )
        if theirs is not None and theirs > 20_000 and kernel.time_ns is not None:
            assert kernel.time_ns == pytest.approx(theirs, rel=0.15)
            compared += 1
    assert compared


def test_too_short_a_time_is_told() -> None:
    counters = HardwareCounters(time_limit_s=1.5)
    module = nn.Linear(16, 16).cuda()
    counts = _step(counters, {"fc": module}, {"fc": _inputs((4, 16))})
    counters.close()
    for reason in counts.values():
        assert isinstance(reason, Unavailable)
        assert reason.cause is UnavailableCause.TIME_LIMIT


def test_a_training_with_a_capture_is_the_same_bit_for_bit_on_a_gpu(tmp_path: Path) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    options: dict[str, Any] = {"model": NoisyCnn, "accelerator": "gpu", "devices": 1}
    plain, _ = train(tmp_path / "plain", **options)
    peak = torch.cuda.max_memory_allocated()
    random = torch.cuda.get_rng_state()
    torch.cuda.reset_peak_memory_stats()
    folder = tmp_path / "packages"
    folder.mkdir()
    capturing = Capturing(folder)
    captured, _ = train(tmp_path / "captured", capturing, **options)
    assert capturing.geometries == 4
    assert torch.cuda.max_memory_allocated() <= peak
    assert torch.equal(random, torch.cuda.get_rng_state())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, captured.state_dict()[name]), name
