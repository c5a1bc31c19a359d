"""Ceilings that are really measured on this machine's CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_profile.devices import measure_ceilings, stopwatch, vendor_ceilings
from lightning_profile.devices.precision import CPU_MATMUL, CUDA_MATMUL, read_precision
from lightning_profile.devices.stopwatch import CpuStopwatch
from lightning_profile.records import ARITHMETIC_KINDS, Ceilings
from tests.devices.switches import as_at_start

CPU = torch.device("cpu")
MM = torch.ops.aten.mm.out


def state() -> dict[str, Any]:
    """What a training might notice."""
    return {
        "random": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
        "subnormals": (torch.tensor(1e-40) * 1).item(),
        "cpu": read_precision(CPU_MATMUL),
        "cuda": read_precision(CUDA_MATMUL),
        "matmul": torch.get_float32_matmul_precision(),
        "allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "fp16": torch.backends.cuda.matmul.allow_fp16_accumulation,
        "has_cuda": torch.cuda.is_initialized(),
    }


class Products(TorchDispatchMode):
    """Notes under which settings each matrix product runs; those of ``broken`` fail."""

    def __init__(self, broken: torch.dtype | None = None) -> None:
        super().__init__()
        self.broken = broken
        self.seen: set[tuple[torch.dtype, str, bool]] = set()
        self.operands: list[torch.Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is MM:
            left = args[0]
            if left.dtype == self.broken:
                raise RuntimeError("no such operator")
            self.seen.add((left.dtype, read_precision(CPU_MATMUL), torch.is_grad_enabled()))
            self.operands.append(left[0].to(torch.float64, copy=True))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates don't matter, so nothing is repeated."""
    monkeypatch.setattr(CpuStopwatch, "patience_s", 0.0)
    monkeypatch.setattr(CpuStopwatch, "long_enough_s", 0.0)


@pytest.fixture(scope="module")
def ceilings() -> Ceilings:
    return measure_ceilings(CPU)


def test_a_cpu_has_the_kinds_that_it_has(ceilings: Ceilings) -> None:
    known = {kind for kind, rate in ceilings.flop_per_s.items() if rate is not None}
    assert known == {"fp64", "fp32", "fp16", "bf16"}
    assert ceilings.source.startswith("measured: ")
    assert torch.__version__ in ceilings.source


def test_the_rates_are_plausible(ceilings: Ceilings) -> None:
    rates = [*ceilings.flop_per_s.values(), ceilings.bytes_per_s]
    assert all(math.isfinite(rate) and rate > 0 for rate in rates if rate is not None)
    fp64, fp32 = ceilings.flop_per_s["fp64"], ceilings.flop_per_s["fp32"]
    assert fp64 is not None
    assert fp32 is not None
    # A core does 1 to 1,000 GFLOP/s. fp32 is about twice fp64; both are disturbed by others.
    assert 1e9 < fp32 < 1e12 * torch.get_num_threads()
    assert fp32 > fp64 / 2
    assert ceilings.bytes_per_s is not None
    assert 1e8 < ceilings.bytes_per_s < 1e13


@pytest.mark.usefixtures("_hurried")
def test_a_training_notices_nothing() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        before = state()
        measure_ceilings(CPU)
        assert state() == before
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def _medium() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    yield
    as_at_start()


@pytest.mark.usefixtures("_hurried", "_medium")
def test_fp32_is_measured_in_fp32_whatever_the_switches_and_they_stay() -> None:
    before = state()
    assert before["cpu"] == "bf16"
    with torch.autocast("cpu", dtype=torch.bfloat16), Products() as products:
        measure_ceilings(CPU)
        assert torch.is_autocast_enabled("cpu")
    assert {(dtype, grad) for dtype, _, grad in products.seen} == {
        (dtype, False) for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    }
    assert {precision for dtype, precision, _ in products.seen if dtype == torch.float32} == {
        "ieee"
    }
    assert state() == before


@pytest.mark.usefixtures("_hurried", "_medium")
def test_a_product_that_fails_is_unknown_and_the_rest_is_measured() -> None:
    before = state()
    with Products(broken=torch.float32):
        ceilings = measure_ceilings(CPU)
    assert ceilings.flop_per_s["fp32"] is None
    assert ceilings.flop_per_s["fp64"] is not None
    assert ceilings.bytes_per_s is not None
    assert state() == before


@pytest.mark.usefixtures("_hurried")
def test_operands_are_ordinary_numbers_and_the_same_every_time() -> None:
    with Products() as first:
        measure_ceilings(CPU)
    with Products() as second:
        measure_ceilings(CPU)
    for one, other in zip(first.operands, second.operands, strict=True):
        assert torch.equal(one, other)
        assert one.isfinite().all()
        assert 0.3 < one.std() < 0.9  # uniform between -1 and 1: 0.58
        assert (one.abs() > 1e-6).float().mean() > 0.99


def test_with_too_little_memory_everything_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "_host_memory_bytes", lambda: 2**29)
    ceilings = measure_ceilings(CPU)
    assert ceilings.bytes_per_s is None
    assert ceilings.flop_per_s == dict.fromkeys(ARITHMETIC_KINDS)


def test_of_other_devices_nothing_is_known() -> None:
    ceilings = measure_ceilings(torch.device("meta"))
    assert (ceilings.bytes_per_s, set(ceilings.flop_per_s.values())) == (None, {None})
    assert ceilings.source == "not measured"
    assert vendor_ceilings(CPU) is None
