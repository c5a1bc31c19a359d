"""Counters of a real GPU: executed against pen and paper.

Each count starts the tool anew, which takes about 15 s, so that one run counts many layers.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from lightning_profile.counters import (
    CallCapture,
    HardwareCounters,
    LayerPhase,
    deviation_reason,
    other_kernels,
)
from lightning_profile.counters.settings import read_settings, write_switches
from lightning_profile.counters.tool import find_tool
from lightning_profile.records import HardwareCount, Phase, Unavailable, UnavailableCause
from tests.counters.captures import as_layer
from tests.counters.outputs import PRODUCT_FLOP
from tests.counters.untouched import changes_by_capture
from tests.trainings.untouched import CASES, ON_GPU_ONLY, Case, as_parameters

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
    "linear": Example(lambda: nn.Linear(1024, 1024), (512, 1024), 2 * 512 * 1024 * 1024),
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
    sum((output.float() ** 2).mean() for output in outputs.values()).backward()
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
    assert (once.hardware_flop or 0) >= 2 * 64 * 256 * 256  # tiles may be padded
    assert twice.hardware_flop == 2 * (once.hardware_flop or 0)
    again = counters.capture([as_layer(first, "first")])
    again.attach()
    first(_inputs((64, 256))).sum().backward()
    captured = again.detach()
    assert [call.package for layer in captured for call in layer.calls] == [None]
    assert _counted(counters.count(captured), "first", Phase.FORWARD) == once
    counters.close()


def _device_times_ns(module: nn.Module, inputs: Tensor) -> dict[str, tuple[float, int]]:
    """Total duration and number of launches in a forward by kernel's name, by torch.profiler."""
    for _ in range(3):
        module(inputs)
    torch.cuda.synchronize()
    forwards = 5
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        for _ in range(forwards):
            module(inputs)
        torch.cuda.synchronize()
    results: Any = recorded.profiler
    durations: dict[str, list[int]] = {}
    for event in results.kineto_results.events():
        if event.device_type() == torch.autograd.DeviceType.CUDA:
            durations.setdefault(_base(event.name()), []).append(event.duration_ns())
    return {name: (sum(each) / forwards, len(each) // forwards) for name, each in durations.items()}


def _base(name: str) -> str:
    """What two tools, which write types and namespaces differently, agree on."""
    return re.sub(r"[^a-z0-9]", "", name.lower().removeprefix("void ").split("<")[0].split("(")[0])


@pytest.mark.filterwarnings("ignore:.*Profiler clears events")  # torch before 2.14, of one cycle
def test_durations_agree_with_torch_profiler_for_long_kernels() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    module, inputs = CONV2.make().cuda(), _inputs((1024, 32, 26, 26))
    counters = HardwareCounters()
    forward = _counted(
        _step(counters, {"conv2": module}, {"conv2": inputs}), "conv2", Phase.FORWARD
    )
    counters.close()
    theirs = _device_times_ns(module, inputs)
    ours: Counter[str] = Counter()
    for kernel in forward.kernels:
        ours[_base(kernel.name)] += kernel.time_ns or 0
    compared = 0
    for name, time_ns in ours.items():
        their_time_ns, launches = theirs.get(name, (0.0, 0))
        print(f"\n{name}: {time_ns} ns under ncu, {their_time_ns:.0f} ns in torch.profiler")
        if launches and their_time_ns / launches > 20_000:
            assert time_ns == pytest.approx(their_time_ns, rel=0.15)
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


@pytest.mark.parametrize("case", as_parameters(CASES | ON_GPU_ONLY))
def test_a_training_with_a_capture_is_the_same_bit_for_bit(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    on_gpu: dict[str, Any] = {"accelerator": "gpu", "devices": 1, "deterministic": True}
    assert changes_by_capture(tmp_path, case, **on_gpu) == []


def test_a_capture_does_not_raise_the_peak_of_memory(tmp_path: Path) -> None:
    module, inputs = CONV2.make().cuda(), _inputs(CONV2.shape)

    def peak_bytes() -> int:
        module.zero_grad()
        torch.cuda.reset_peak_memory_stats()
        (module(inputs) ** 2).mean().backward()
        return torch.cuda.max_memory_allocated()

    peak_bytes()
    inputs.grad = None
    without = peak_bytes()
    inputs.grad = None
    capture = CallCapture([as_layer(module)], tmp_path)
    capture.attach()
    assert peak_bytes() == without
    (captured,) = capture.detach()
    assert captured.calls[0].package is not None
    assert torch.cuda.max_memory_allocated() == without
