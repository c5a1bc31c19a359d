"""A fault of our own: what it costs, and how it is described, so that it can be reported."""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Callable

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


class Guard:
    """Runs what is ours amid a training: a fault of it costs a window, never the training.

    Args:
        close: Closes what is open. It is called after a fault, and may fail itself.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._complained: set[str] = set()

    def __call__(self, action: Callable[[], None]) -> None:
        """Run ``action``; of a fault the first of its kind is a warning."""
        try:
            action()
        except Exception as fault:
            with contextlib.suppress(Exception):  # it may be the closing that failed
                self._close()
            text = describe_for_report(fault)
            if text in self._complained:
                return
            self._complained.add(text)
            warnings.warn(  # last: it raises where warnings are errors
                f"a window of the layer profile is lost, the training goes on: {text}",
                stacklevel=3,
            )
