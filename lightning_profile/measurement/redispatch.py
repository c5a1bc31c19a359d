"""Operators that are dispatched again inside of themselves, and may do something else there.

A dispatch mode or a tensor subclass of Python's takes an operator over once its event has begun:
selective checkpointing then hands out what it kept, and computes nothing. ``torch.func.vmap`` runs
another one, with the batch that the first one's shapes don't show. What ran is inside of it.
"""

from __future__ import annotations

from collections.abc import Iterable

_TAKEN_OVER = frozenset({"PythonDispatchMode", "PythonSubclass"})  # torch's ranges around it
_PRODUCTS = frozenset(
    f"aten::{name}{suffix}"
    for name in ("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addbmm", "addmv")
    for suffix in ("", "_")
)
# What vmap makes of one of those; none is inside of one otherwise.
_BATCHED_PRODUCTS = frozenset({"aten::matmul", "aten::mm", "aten::bmm", "aten::mv", "aten::dot"})


def runs_as_another(name: str, directly_inside: Iterable[str]) -> bool:
    """Whether what the operator does is what runs inside of it, not what its arguments say.

    Args:
        name: The operator.
        directly_inside: The names of the operators and ranges directly inside of it.
    """
    is_product = name in _PRODUCTS
    return any(
        inside == name or inside in _TAKEN_OVER or (is_product and inside in _BATCHED_PRODUCTS)
        for inside in directly_inside
    )
