from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lightning_profile.theory.expression import ZERO, Expression, product, symbol, total
from tests.theory.arithmetic import evaluate

expressions = st.recursive(
    st.builds(symbol, st.sampled_from("NCHWK"), st.integers(1, 40)),
    lambda inner: st.one_of(
        st.builds(lambda a, b: a * b, inner, inner),
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: a - b, inner, inner),
        st.builds(lambda a, k: a // symbol("s", k), inner, st.integers(1, 5)),
    ),
    max_leaves=8,
)


@given(expressions)
def test_the_numbers_put_in_give_the_value(expression: Expression) -> None:
    assert evaluate(expression.numbers) == expression.value


def test_a_formula_reads_as_on_paper() -> None:
    size, kernel = symbol("H", 26), symbol("K_H", 3)
    out = (size - (kernel - 1) - 1) // symbol("stride", 2) + 1
    assert (out.symbols, out.value) == ("⌊(H − (K_H − 1) − 1) / stride⌋ + 1", 12)
    assert (2 * symbol("N", 4) * out.named("H_out")).symbols == "2 · N · H_out"


def test_sums_leave_out_zeros_and_products_multiply() -> None:
    a, b = symbol("a", 2), symbol("b", 5)
    assert total([a, ZERO, b]).symbols == "a + b"
    assert total([ZERO]) is ZERO
    assert product([a, b]).value == 10
