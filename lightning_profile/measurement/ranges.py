"""Ranges of ours in a recording."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import cast

import torch
from torch._C._profiler import _RecordFunctionFast
from torch.profiler import record_function


def recorded_range(name: str) -> AbstractContextManager[None]:
    """A range of this name, as ``record_function`` makes it where nobody would notice.

    That is dispatched like an operator. A mode of the user's would see it, and what the mode does
    with it is one more operator, with which the range would end as soon as it began. The other
    kind is not dispatched; but it has no picture among a GPU's events, which a trace shows.
    """
    has_mode = torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack()
    kind = _RecordFunctionFast if has_mode else record_function
    return cast(AbstractContextManager[None], kind(name))
