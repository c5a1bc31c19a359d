"""Copies that change a tensor's floating-point type, as autocast makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

COPY = "aten::_to_copy"  # the operator

# The profiler's names of types, and their numbers in torch's `c10/core/ScalarType.h`.
_NAMES = {
    "c10::Half": "float16",
    "float": "float32",
    "double": "float64",
    "c10::BFloat16": "bfloat16",
    "c10::Float8_e5m2": "float8_e5m2",
    "c10::Float8_e4m3fn": "float8_e4m3fn",
}
_NUMBERS = {5: "float16", 6: "float32", 7: "float64", 15: "bfloat16"} | {
    23: "float8_e5m2",
    24: "float8_e4m3fn",
}


class RecordedCopy(Protocol):
    """The part of a kineto event that a cast is told by."""

    def shapes(self) -> Sequence[Any]:
        """Shape of each argument."""

    def dtypes(self) -> Sequence[str]:
        """Type of each argument."""

    def concrete_inputs(self) -> Sequence[Any]:
        """Value of each argument, ``None`` for tensors."""


def cast_of(operator: RecordedCopy) -> str | None:
    """The types before and after, such as ``float32 to bfloat16``; ``None`` if it is no cast.

    Nor is the copy of a single number: attention's scale is one, which Python has in float64.
    """
    shapes = operator.shapes()
    if not shapes or not shapes[0]:
        return None
    types, arguments = operator.dtypes(), operator.concrete_inputs()
    before = _NAMES.get(types[0]) if types else None
    after = _NUMBERS.get(arguments[1]) if len(arguments) > 1 else None
    if before is None or after is None or before == after:
        return None
    return f"{before} to {after}"
