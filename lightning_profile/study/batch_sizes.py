"""Which batch sizes make a study."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from lightning_profile.quoting import quoted

_WHOLE = re.compile("-?[0-9]{1,18}")
_LIKE = "such as 16 32 64 128"


def check_batch_sizes(batch_sizes: Sequence[object]) -> list[int]:
    """The batch sizes in ascending order.

    Args:
        batch_sizes: Numbers, or what stands for them on a command line.

    Raises:
        ValueError: If one is no whole number from 1 on, or is named twice, or there is but one.
    """
    sizes = [_whole_number(each) for each in batch_sizes]
    if twice := [size for size, count in Counter(sizes).items() if count > 1]:
        raise ValueError(
            f"batch size {twice[0]} is named twice: a study trains each of its batch sizes once"
        )
    if len(sizes) < 2:
        raise ValueError(f"a study compares several batch sizes, {_LIKE}")
    return sorted(sizes)


def _whole_number(value: object) -> int:
    text = str(value)
    if isinstance(value, bool) or not _WHOLE.fullmatch(text):
        raise ValueError(f"batch sizes are whole numbers, {_LIKE}, not {quoted(value)}")
    size = int(text)
    if size < 1:
        raise ValueError(f"batch sizes must be at least 1, {_LIKE}, not {size}")
    return size
