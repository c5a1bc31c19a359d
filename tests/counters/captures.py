"""Captures of live calls, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_profile.counters import CallCapture, CapturedLayer
from lightning_profile.records import Layer


def as_layer(module: nn.Module, name: str = "layer", **options: Any) -> Layer:
    kind = type(module).__name__
    values = {"entry": module, "type_name": kind, "display_name": f"{kind}-1"}
    return Layer(qualified_name=name, module=module, **(values | options))


def capture_step(
    folder: Path, module: nn.Module, step: Callable[[], object], **options: Any
) -> CapturedLayer:
    """Run ``step`` with ``module`` captured."""
    capture = CallCapture([as_layer(module, **options)], folder)
    capture.attach()
    try:
        step()
    finally:
        (captured,) = capture.detach()
    return captured


def package_of(captured: CapturedLayer) -> Path:
    assert captured.unavailable is None, captured.unavailable
    (call,) = captured.calls
    assert call.package is not None
    return call.package


def gradients_of(module: nn.Module) -> dict[str, torch.Tensor | None]:
    return {name: parameter.grad for name, parameter in module.named_parameters()}
