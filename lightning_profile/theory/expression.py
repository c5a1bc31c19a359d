"""A number that remembers how it was computed.

Formulas are written once, as arithmetic. The value, the formula in symbols and the formula with
the numbers put in come from the same expression, so a derivation cannot disagree with its result.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

from lightning_profile.records import Equation

_SUM, _PRODUCT, _ATOM = 0, 1, 2  # how tightly the outermost operation binds


@dataclass(frozen=True, slots=True)
class Expression:
    """An exact integer with its formula in symbols and in numbers.

    Sums, differences, products and quotients (``//``) of expressions and integers are expressions.

    Attributes:
        value: The integer.
        symbols: The formula in symbols.
        numbers: The formula with the numbers put in.
        binding: How tightly the outermost operation binds, which tells where brackets are needed.
    """

    value: int
    symbols: str
    numbers: str
    binding: int = _ATOM

    def __mul__(self, other: Expression | int) -> Expression:
        return _combine(self, "·", other, operator.mul, _PRODUCT)

    def __rmul__(self, other: int) -> Expression:
        return _literal(other) * self

    def __add__(self, other: Expression | int) -> Expression:
        return _combine(self, "+", other, operator.add, _SUM)

    def __sub__(self, other: Expression | int) -> Expression:
        return _combine(self, "−", other, operator.sub, _SUM)

    def __floordiv__(self, other: Expression | int) -> Expression:
        """Division, rounded down; the brackets of rounding are written only where it rounds.

        Raises:
            ZeroDivisionError: If ``other`` is 0.
        """
        right = _as_expression(other)
        symbols, numbers = (
            f"{_wrap(over, self, _PRODUCT)} / {_wrap(under, right, _ATOM)}"
            for over, under in ((self.symbols, right.symbols), (self.numbers, right.numbers))
        )
        value, remainder = divmod(self.value, right.value)
        if remainder:
            return Expression(value, f"⌊{symbols}⌋", f"⌊{numbers}⌋")
        # Binds like a sum, so that it stands in brackets as a factor of a product.
        return Expression(value, symbols, numbers, _SUM)

    def named(self, symbol: str) -> Expression:
        """The value under a name of its own, for use in a further formula.

        Args:
            symbol: What stands for the value there.
        """
        return Expression(self.value, symbol, str(self.value))

    def equation(self, quantity: str, unit: str) -> Equation:
        """This expression as one printable line of a derivation.

        Args:
            quantity: What it is, such as ``FLOPs``.
            unit: Of its value, such as ``FLOP``.
        """
        return Equation(
            quantity=quantity,
            symbols=self.symbols,
            numbers=self.numbers,
            value=self.value,
            unit=unit,
        )


ZERO = Expression(0, "0", "0")


def symbol(name: str, value: int) -> Expression:
    """A quantity that is given, such as ``symbol("N", 128)``.

    Args:
        name: What stands for it in a formula.
        value: In whatever unit the formula takes.
    """
    return Expression(value, name, str(value))


def total(terms: list[Expression]) -> Expression:
    """The sum of ``terms``, leaving out zeros; ``ZERO`` if nothing is left."""
    result = ZERO
    for term in terms:
        if term.value:
            result = term if result is ZERO else result + term
    return result


def product(factors: list[Expression]) -> Expression:
    """The product of ``factors``, of which there is at least one."""
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return result


def _literal(value: int) -> Expression:
    return Expression(value, str(value), str(value))


def _as_expression(value: Expression | int) -> Expression:
    return value if isinstance(value, Expression) else _literal(value)


def _combine(
    left: Expression,
    sign: str,
    other: Expression | int,
    operation: Callable[[int, int], int],
    binding: int,
) -> Expression:
    right = _as_expression(other)
    # The right side of a difference needs brackets around a sum: a − (b + c).
    right_binding = binding + 1 if sign == "−" else binding
    return Expression(
        operation(left.value, right.value),
        f"{_wrap(left.symbols, left, binding)} {sign} {_wrap(right.symbols, right, right_binding)}",
        f"{_wrap(left.numbers, left, binding)} {sign} {_wrap(right.numbers, right, right_binding)}",
        binding,
    )


def _wrap(text: str, expression: Expression, binding: int) -> str:
    return text if expression.binding >= binding else f"({text})"
