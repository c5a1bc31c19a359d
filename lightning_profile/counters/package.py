"""All that another process needs to repeat a call of a layer, in one file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_profile.counters.pickling import ModulePickling
from lightning_profile.counters.settings import Settings
from lightning_profile.counters.tensors import StoredTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPackage:
    """A call of a layer, with the data.

    Attributes:
        module: The layer; its training flag and those inside of it are as they were.
        args: Positional arguments, with :class:`StoredTensor` in place of tensors.
        kwargs: Keyword arguments, likewise.
        gradients: The gradient of each tensor in the output, ``None`` where none came; empty if
            there was no backward pass.
        settings: What the call depended on besides.
        device: Where it ran.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    gradients: tuple[StoredTensor | None, ...]
    settings: Settings
    device: torch.device


def save_package(package: ReplayPackage, path: str | os.PathLike[str]) -> None:
    """Write ``package`` to the file ``path``.

    Raises:
        Exception: Whatever pickling raises if something can't be pickled.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of hooks that are dropped on purpose
        torch.save(package, path, pickle_module=ModulePickling)


def load_package(path: str | os.PathLike[str]) -> ReplayPackage:
    """Read a package; tensors are put on the devices where they were.

    Only for files that :func:`save_package` wrote: loading runs code.
    """
    package = torch.load(path, weights_only=False)
    if not isinstance(package, ReplayPackage):
        raise TypeError(f"{path} is no replay package")
    return package
