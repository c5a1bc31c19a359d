"""How a fault of our own is described, so that it can be reported."""

from __future__ import annotations

import traceback

import torch

from lightning_profile.version import __version__


def describe_fault(fault: BaseException) -> str:
    """One line: the kind of fault, its message, and where it happened."""
    frames = traceback.extract_tb(fault.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(fault).__name__}: {fault}{where}"


def describe_for_report(fault: BaseException) -> str:
    """The same, and which versions ran."""
    versions = f"lightning_profile {__version__}, torch {torch.__version__}"
    return f"{describe_fault(fault)} [{versions}]"
