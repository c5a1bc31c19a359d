"""What a call of a layer depends on beside its inputs: torch's switches, and the modes it is in.

Environment variables that steer libraries, such as ``NVIDIA_TF32_OVERRIDE``, need no place here:
the replay is a child of the training's process and inherits them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import backends


class _Switch(NamedTuple):
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _attribute(owner: object, name: str) -> _Switch:
    return _Switch(partial(attrgetter(name), owner), partial(setattr, owner, name))


def _precision(backend: str, operation: str) -> _Switch:
    # The functions that torch's own properties call: allow_tf32 and the older
    # set_float32_matmul_precision set these too, and raise if both ways were mixed.
    return _Switch(
        partial(torch._C._get_fp32_precision_getter, backend, operation),
        partial(torch._C._set_fp32_precision_setter, backend, operation),
    )


def _write_determinism(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


_SWITCHES: Mapping[str, _Switch] = {
    "default_dtype": _Switch(torch.get_default_dtype, torch.set_default_dtype),
    "cuda_matmul_precision": _precision("cuda", "matmul"),
    "cuda_convolution_precision": _precision("cuda", "conv"),
    "cuda_recurrent_precision": _precision("cuda", "rnn"),
    "cpu_matmul_precision": _precision("mkldnn", "matmul"),
    "cpu_convolution_precision": _precision("mkldnn", "conv"),
    "cpu_recurrent_precision": _precision("mkldnn", "rnn"),
    "cudnn_enabled": _attribute(backends.cudnn, "enabled"),
    "cudnn_benchmark": _attribute(backends.cudnn, "benchmark"),
    "cudnn_benchmark_limit": _attribute(backends.cudnn, "benchmark_limit"),
    "cudnn_deterministic": _attribute(backends.cudnn, "deterministic"),
    "deterministic_algorithms": _Switch(
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        _write_determinism,
    ),
    "fill_uninitialized_memory": _attribute(torch.utils.deterministic, "fill_uninitialized_memory"),
    "blas_library": _Switch(
        backends.cuda.preferred_blas_library, backends.cuda.preferred_blas_library
    ),
    "fp16_accumulation": _attribute(backends.cuda.matmul, "allow_fp16_accumulation"),
    "fp16_reduced_precision": _attribute(
        backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"
    ),
    "bf16_reduced_precision": _attribute(
        backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"
    ),
    "flash_attention": _Switch(backends.cuda.flash_sdp_enabled, backends.cuda.enable_flash_sdp),
    "memory_efficient_attention": _Switch(
        backends.cuda.mem_efficient_sdp_enabled, backends.cuda.enable_mem_efficient_sdp
    ),
    "cudnn_attention": _Switch(backends.cuda.cudnn_sdp_enabled, backends.cuda.enable_cudnn_sdp),
    "plain_attention": _Switch(backends.cuda.math_sdp_enabled, backends.cuda.enable_math_sdp),
    "attention_fast_path": _Switch(
        backends.mha.get_fastpath_enabled, backends.mha.set_fastpath_enabled
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Autocast:
    """Automatic casts on one kind of device."""

    device_type: str
    dtype: torch.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is in force at one moment, on this thread.

    Attributes:
        switches: Values of torch's switches, by our names for them.
        autocasts: The kinds of devices with automatic casts.
        is_autocast_cached: Whether casts of parameters are kept.
        has_gradients: Whether calls build a graph for a backward pass.
        is_inference: Whether inference mode is on.
    """

    switches: Mapping[str, Any]
    autocasts: tuple[Autocast, ...]
    is_autocast_cached: bool
    has_gradients: bool
    is_inference: bool


def read_settings(device_type: str) -> Settings:
    """What is in force now for calls on ``device_type``; nothing is changed."""
    return Settings(
        switches={name: switch.read() for name, switch in _SWITCHES.items()},
        autocasts=tuple(
            Autocast(device_type=each, dtype=torch.get_autocast_dtype(each))
            for each in dict.fromkeys((device_type, "cpu"))
            if torch.is_autocast_enabled(each)
        ),
        is_autocast_cached=torch.is_autocast_cache_enabled(),
        has_gradients=torch.is_grad_enabled(),
        is_inference=torch.is_inference_mode_enabled(),
    )


def write_switches(settings: Settings) -> None:
    """Set the switches of this process; those that are right already are left alone."""
    for name, value in settings.switches.items():
        switch = _SWITCHES[name]
        if switch.read() != value:
            switch.write(value)


@contextlib.contextmanager
def modes_of(settings: Settings) -> Iterator[None]:
    """Autocast, gradient and inference mode as they were, inside of the block."""
    with contextlib.ExitStack() as modes:
        modes.enter_context(torch.inference_mode(settings.is_inference))
        modes.enter_context(torch.set_grad_enabled(settings.has_gradients))
        for each in settings.autocasts:
            modes.enter_context(
                torch.autocast(
                    each.device_type,
                    dtype=each.dtype,
                    cache_enabled=settings.is_autocast_cached,
                )
            )
        yield
