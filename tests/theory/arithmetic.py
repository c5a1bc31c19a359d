"""Evaluates a printed formula, so that tests can check derivations as a reader would."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

_OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def evaluate(formula: str) -> int:
    """The value of a formula such as ``2 · 3 · (26 − 2)``."""
    text = formula.translate(str.maketrans({"·": "*", "−": "-", "⌊": "(", "⌋": ")"}))
    return _value(ast.parse(text.replace("/", "//"), mode="eval").body)


def _value(node: ast.expr) -> int:
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int)
        return node.value
    assert isinstance(node, ast.BinOp)
    return _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
