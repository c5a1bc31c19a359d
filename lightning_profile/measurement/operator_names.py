"""What the name of a recorded operator says, worked out once for each name."""

from __future__ import annotations

import functools
from typing import NamedTuple

from lightning_profile.measurement.calls import CALL_MARK
from lightning_profile.measurement.casts import COPY
from lightning_profile.measurement.counting import TAKES_LISTS, lacks_formula
from lightning_profile.measurement.marks import STEP_MARK

_PRODUCT = "aten::mm"  # what a backward's matrix products are


class NameSays(NamedTuple):
    """What can be told of an operator without its arguments.

    Attributes:
        call: Of the range that marks a call, the call's position; ``None`` for all else.
        is_step_mark: Whether it marks a step's beginning or end.
        takes_lists: Whether its formula needs the shapes of tensors in lists.
        is_copy: Whether it may be a cast.
        is_product: Whether it multiplies two matrices.
        lacks_formula: Whether it does, or may do, products that nothing here can count.
        lacks_formula_as_leaf: The same, where no other operators ran inside of it.
    """

    call: int | None
    is_step_mark: bool
    takes_lists: bool
    is_copy: bool
    is_product: bool
    lacks_formula: bool
    lacks_formula_as_leaf: bool


@functools.lru_cache(maxsize=4096)
def name_says(name: str) -> NameSays:
    """What ``name`` says."""
    return NameSays(
        call=int(name.removeprefix(CALL_MARK)) if name.startswith(CALL_MARK) else None,
        is_step_mark=name.startswith(STEP_MARK),
        takes_lists=name in TAKES_LISTS,
        is_copy=name == COPY,
        is_product=name == _PRODUCT,
        lacks_formula=lacks_formula(name, is_leaf=False),
        lacks_formula_as_leaf=lacks_formula(name, is_leaf=True),
    )
