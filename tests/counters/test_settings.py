"""Switches and modes go along with a captured call."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lightning_profile.counters.settings import modes_of, read_settings, write_switches


@pytest.fixture(autouse=True)
def _put_everything_back() -> Iterator[None]:
    before = read_settings("cpu")
    yield
    write_switches(before)
    assert read_settings("cpu") == before


def test_reading_changes_nothing_and_is_repeatable() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_settings("cuda") == read_settings("cuda")


def test_switches_are_set_as_they_were() -> None:
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("high")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_default_dtype(torch.float64)
    torch.backends.cuda.enable_flash_sdp(False)
    kept = read_settings("cuda")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(False)
    torch.set_default_dtype(torch.float32)
    torch.backends.cuda.enable_flash_sdp(True)
    assert read_settings("cuda") != kept
    write_switches(kept)
    assert read_settings("cuda") == kept
    assert torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic
    assert torch._C._get_fp32_precision_getter("cuda", "conv") in {"ieee", "none"}
    assert torch._C._get_fp32_precision_getter("cuda", "matmul") == "tf32"
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.get_default_dtype() == torch.float64
    assert not torch.backends.cuda.flash_sdp_enabled()


def test_autocast_is_as_it_was() -> None:
    linear = nn.Linear(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        kept = read_settings("cuda")
    assert not torch.is_autocast_enabled("cpu")
    with modes_of(kept):
        assert linear(torch.ones(1, 2)).dtype == torch.bfloat16
        assert not torch.is_autocast_cache_enabled()
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradient_modes_are_as_they_were(mode: type[torch.no_grad]) -> None:
    with mode():
        kept = read_settings("cpu")
        expected = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    with modes_of(kept):
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == expected
