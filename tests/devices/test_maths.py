"""What torch's switches say, and what arithmetic follows from it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from lightning_profile.devices import Product, arithmetic_kind, read_maths_mode
from lightning_profile.devices.maths import cpu_maths_mode, cuda_maths_mode
from lightning_profile.devices.precision import (
    CPU_MATMUL,
    CUDA_CONVOLUTION,
    CUDA_MATMUL,
    Setting,
    fp32_accumulation,
    precision,
    read_precision,
)
from lightning_profile.records import MathsMode
from tests.devices.switches import GENERIC, as_at_start, readings, write_precision

FP32 = MathsMode(float32_matmul="fp32", float32_convolution="fp32", float32_recurrent="fp32")
MIXED = MathsMode(float32_matmul="fp32", float32_convolution="tf32", float32_recurrent=None)
AMPERE: dict[str, Any] = {
    "compute_capability": (8, 0),
    "has_cudnn": True,
    "fp16_accumulation": False,
}


@pytest.fixture(autouse=True)
def _switches() -> Iterator[None]:
    as_at_start()
    yield
    as_at_start()


@pytest.mark.parametrize(
    ("dtype", "product", "kind"),
    [
        (torch.float64, "matmul", "fp64"),
        (torch.float32, "matmul", "fp32"),
        (torch.float32, "convolution", "tf32"),
        (torch.float32, "recurrent", None),
        (torch.float16, "matmul", "fp16"),
        (torch.bfloat16, "convolution", "bf16"),
        (torch.float8_e4m3fn, "matmul", "fp8"),
        (torch.int64, "matmul", None),
        (torch.complex64, "matmul", None),
    ],
)
def test_the_kind_follows_from_dtype_product_and_mode(
    dtype: torch.dtype, product: Product, kind: str | None
) -> None:
    assert arithmetic_kind(dtype, product, MIXED) == kind


def test_matrix_products_summed_in_fp16_have_no_ceiling() -> None:
    mode = cuda_maths_mode(
        matmul="none",
        convolution="none",
        recurrent="none",
        **(AMPERE | {"fp16_accumulation": True}),
    )
    assert arithmetic_kind(torch.float16, "matmul", mode) is None
    assert arithmetic_kind(torch.float16, "convolution", mode) == "fp16"
    assert arithmetic_kind(torch.bfloat16, "matmul", mode) == "bf16"


def test_tf32_is_told_apart_by_product() -> None:
    mode = cuda_maths_mode(matmul="none", convolution="tf32", recurrent="ieee", **AMPERE)
    assert mode == MathsMode(
        float32_matmul="fp32", float32_convolution="tf32", float32_recurrent="fp32"
    )


def test_gpus_before_ampere_have_no_tf32() -> None:
    turing = AMPERE | {"compute_capability": (7, 5)}
    assert cuda_maths_mode(matmul="tf32", convolution="tf32", recurrent="tf32", **turing) == FP32


def test_without_cudnn_a_convolution_is_a_matrix_product() -> None:
    without = AMPERE | {"has_cudnn": False}
    assert cuda_maths_mode(matmul="none", convolution="tf32", recurrent="tf32", **without) == FP32


def test_reduced_precision_on_a_cpu_depends_on_the_processor_and_is_unknown() -> None:
    mode = cpu_maths_mode(matmul="bf16", convolution="none", recurrent="ieee")
    assert (mode.float32_matmul, mode.float32_convolution) == (None, "fp32")


@pytest.mark.parametrize(
    ("switch", "matmul"),
    [
        (lambda: None, "fp32"),
        (lambda: torch.set_float32_matmul_precision("medium"), None),
        (lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"), None),
        (lambda: setattr(torch.backends, "fp32_precision", "tf32"), None),
    ],
    ids=["default", "old", "new", "inherited"],
)
def test_the_cpus_mode_is_read_however_it_was_set(
    switch: Callable[[], None], matmul: str | None
) -> None:
    switch()
    before = readings()
    assert read_maths_mode(torch.device("cpu")).float32_matmul == matmul
    assert readings() == before


def test_the_mode_of_an_unknown_device_is_unknown() -> None:
    mode = read_maths_mode(torch.device("meta"))
    assert arithmetic_kind(torch.float32, "matmul", mode) is None


@pytest.mark.parametrize(
    ("switch", "matmul", "convolution"),
    [
        (lambda: None, "none", "tf32"),
        (lambda: torch.set_float32_matmul_precision("high"), "tf32", "tf32"),
        (lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True), "tf32", "tf32"),
        (lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"), "tf32", "tf32"),
        (lambda: setattr(torch.backends.cudnn, "allow_tf32", False), "none", "none"),
        (lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee"), "none", "ieee"),
    ],
    ids=["default", "precision", "allow", "new", "cudnn", "cudnn-new"],
)
def test_the_gpus_settings_are_read_however_they_were_set(
    switch: Callable[[], None], matmul: str, convolution: str
) -> None:
    switch()
    assert (read_precision(CUDA_MATMUL), read_precision(CUDA_CONVOLUTION)) == (matmul, convolution)


@pytest.mark.parametrize("setting", [CUDA_MATMUL, CPU_MATMUL])
def test_a_switch_leaves_every_setting_and_what_it_inherits_from_as_before(
    setting: Setting,
) -> None:
    backend = (setting[0], "all")
    values = ("none", "ieee", "tf32")
    for generic, of_backend, own in itertools.product(values, repeat=3):
        for changed, value in itertools.product((GENERIC, backend, setting), values):
            seen = []
            for is_switched in (False, True):
                as_at_start()
                write_precision(GENERIC, generic)
                write_precision(backend, of_backend)
                write_precision(setting, own)
                if is_switched:
                    for inside in ("ieee", "tf32"):
                        with precision(setting, inside):
                            assert read_precision(setting) == inside
                before = readings()
                write_precision(changed, value)  # shows what is inherited from what
                seen.append((before, readings()))
            assert seen[0] == seen[1], (generic, of_backend, own, changed, value)


def test_an_error_inside_of_a_switch_leaves_the_settings_as_before() -> None:
    torch.set_float32_matmul_precision("high")
    before = readings()

    def fail() -> None:
        with fp32_accumulation(), precision(CUDA_MATMUL, "ieee"):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert readings() == before
    # The old switch can be read, as the new one agrees with it again.
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "high"
    assert not torch.backends.cuda.matmul.allow_fp16_accumulation


def test_sums_in_fp16_are_off_inside_and_allowed_again_after() -> None:
    torch.backends.cuda.matmul.allow_fp16_accumulation = True
    try:
        with fp32_accumulation():
            assert not torch.backends.cuda.matmul.allow_fp16_accumulation
        assert torch.backends.cuda.matmul.allow_fp16_accumulation
    finally:
        torch.backends.cuda.matmul.allow_fp16_accumulation = False
