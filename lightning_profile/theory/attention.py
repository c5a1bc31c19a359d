"""Closed forms of scaled dot-product attention.

    forward    S = Q Kᵀ          O = P V,  P = softmax(scale · S) row by row
    backward   dV = Pᵀ dO        dP = dO Vᵀ        dQ = dS K        dK = dSᵀ Q

(Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1; Dao et al. 2022, arXiv:2205.14135, appendix
B.2). Two products forward, four backward. A fused backward that keeps no P (Dao et al., section
3.1) recomputes S: that fifth product is a price of the implementation and not on paper.

Products are per query head: in grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245)
several query heads read one key/value head, which makes keys and values fewer, not the products.

Only pairs of a query and a key that the mask leaves are needed on paper. ``is_causal`` has
PyTorch's meaning, a mask aligned to the upper left: query i sees the keys 0 to i.

Element-wise, one operation each per pair: forward the scale, the comparison for the maximum, its
subtraction, the exponential, the sum and the division, 6 in all; backward P ∘ dP, its row sum, the
subtraction from dP, the multiplication by P, and the scale, 5 in all.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightning_profile.theory.expression import Expression, symbol

_FORWARD_OPERATIONS = 6  # per pair, see above
_BACKWARD_OPERATIONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledDotProduct:
    """Cost of one scaled dot-product attention, each number with its derivation.

    Attributes:
        pairs: Pairs of a query and a key that are needed, over the batch and all query heads.
        scores_flop: Q Kᵀ. As many for dQ, for dK, and for a recomputation of the scores. FLOP.
        values_flop: P V. As many for dV and for dP. FLOP.
        elementwise_flop: Scale and softmax. FLOP.
        backward_elementwise_flop: Their gradient. FLOP.
        query: Elements of Q.
        key: Elements of K, fewer than Q's where query heads share key/value heads.
        value: Elements of V.
        output: Elements of O.
    """

    pairs: Expression
    scores_flop: Expression
    values_flop: Expression
    elementwise_flop: Expression
    backward_elementwise_flop: Expression
    query: Expression
    key: Expression
    value: Expression
    output: Expression

    @property
    def forward_flop(self) -> Expression:
        """Q Kᵀ and P V, in FLOP."""
        return self.scores_flop + self.values_flop

    @property
    def backward_flop(self) -> Expression:
        """dV, dP, dQ and dK, in FLOP."""
        return 2 * self.scores_flop + 2 * self.values_flop


def scaled_dot_product(
    *,
    batch: Expression | int,
    query_heads: Expression | int,
    key_value_heads: Expression | int,
    queries: Expression | int,
    keys: Expression | int,
    key_width: Expression | int,
    value_width: Expression | int,
    is_causal: bool = False,
) -> ScaledDotProduct:
    """Scaled dot-product attention on paper, for the formula of an attention layer of your own.

    A layer with 8 query heads that share 2 key/value heads of width 64, and no projections::

        @phase_costs.register(MyAttention)
        def my_attention_costs(module: MyAttention, call: Call) -> PhaseCosts:
            batch, _, length, _ = call.inputs[0].shape
            attention = scaled_dot_product(
                batch=batch, query_heads=8, key_value_heads=2, queries=length, keys=length,
                key_width=64, value_width=64, is_causal=True,
            )
            forward = phase_cost(
                flop=attention.forward_flop,
                elementwise=attention.elementwise_flop,
            )
            grad_input = phase_cost(
                flop=attention.backward_flop,
                elementwise=attention.backward_elementwise_flop,
            )
            return {Phase.FORWARD: forward, Phase.GRAD_INPUT: grad_input}

    Args:
        batch: Sequences.
        query_heads: Heads of the queries, each with products of its own.
        key_value_heads: Heads of keys and values; a divisor of ``query_heads``.
        queries: Queries per sequence.
        keys: Keys per sequence.
        key_width: Elements of a query and of a key per head.
        value_width: Elements of a value per head.
        is_causal: Whether query i sees the keys 0 to i only.

    Raises:
        ValueError: If query heads can't share the key/value heads evenly.
    """
    n, heads = _size("N", batch), _size("heads", query_heads)
    shared = _size("key/value heads", key_value_heads)
    length, source = _size("L", queries), _size("S", keys)
    d_k, d_v = _size("d_k", key_width), _size("d_v", value_width)
    if heads.value % shared.value:
        raise ValueError(f"{heads.value} query heads can't share {shared.value} key/value heads")
    visible = _causal_pairs(length, source) if is_causal else length * source
    pairs = n * heads * visible
    return ScaledDotProduct(
        pairs=pairs,
        scores_flop=2 * (pairs * d_k),
        values_flop=2 * (pairs * d_v),
        elementwise_flop=_FORWARD_OPERATIONS * pairs,
        backward_elementwise_flop=_BACKWARD_OPERATIONS * pairs,
        query=n * heads * length * d_k,
        key=n * shared * source * d_k,
        value=n * shared * source * d_v,
        output=n * heads * length * d_v,
    )


def _size(name: str, value: Expression | int) -> Expression:
    return value if isinstance(value, Expression) else symbol(name, value)


def _causal_pairs(queries: Expression, keys: Expression) -> Expression:
    """Σ min(i + 1, keys) over the queries i, from 0: a triangle, and full rows below it."""
    if queries.value <= keys.value:
        return queries * (queries + 1) // 2
    return keys * (keys + 1) // 2 + (queries - keys) * keys
