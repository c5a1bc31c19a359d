"""Scaled dot-product attention."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_profile.records import Call, Phase, PhaseCosts
from lightning_profile.theory import phase_cost, phase_costs, scaled_dot_product
from tests.theory.arithmetic import evaluate
from tests.theory.products import step_of


@given(st.integers(1, 12), st.integers(1, 12))
def test_causal_pairs_equal_a_count_over_pytorchs_mask(queries: int, keys: int) -> None:
    seen = 0
    for query in range(queries):
        for key in range(keys):
            seen += key <= query
    assert seen == int(torch.ones(queries, keys).tril().sum())  # as is_causal is documented
    attention = scaled_dot_product(
        batch=2,
        query_heads=4,
        key_value_heads=2,
        queries=queries,
        keys=keys,
        key_width=3,
        value_width=5,
        is_causal=True,
    )
    assert attention.pairs.value == 2 * 4 * seen
    assert attention.scores_flop.value == 2 * 2 * 4 * seen * 3
    assert attention.values_flop.value == 2 * 2 * 4 * seen * 5
    assert evaluate(attention.backward_flop.numbers) == attention.backward_flop.value


def test_a_head_by_hand_to_the_digit() -> None:
    attention = scaled_dot_product(
        batch=1,
        query_heads=1,
        key_value_heads=1,
        queries=1024,
        keys=512,
        key_width=64,
        value_width=128,
    )
    assert attention.forward_flop.value == 67_108_864 + 134_217_728
    assert attention.backward_flop.value == 2 * attention.forward_flop.value
    assert attention.elementwise_flop.value == 6 * 524_288
    assert attention.backward_elementwise_flop.value == 5 * 524_288


def test_shared_heads_have_fewer_keys_and_as_many_products() -> None:
    sizes = {"batch": 2, "queries": 5, "keys": 7, "key_width": 3, "value_width": 4}
    own = scaled_dot_product(query_heads=6, key_value_heads=6, **sizes)
    shared = scaled_dot_product(query_heads=6, key_value_heads=2, **sizes)
    assert shared.forward_flop.value == own.forward_flop.value
    assert (shared.query.value, shared.output.value) == (own.query.value, own.output.value)
    assert (3 * shared.key.value, 3 * shared.value.value) == (own.key.value, own.value.value)
    with pytest.raises(ValueError, match="6 query heads can't share 4"):
        scaled_dot_product(query_heads=6, key_value_heads=4, **sizes)


class GroupedQuery(nn.Module):
    """A user's attention, whose 4 query heads share 2 key/value heads."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        key, value = (each.repeat_interleave(2, dim=1) for each in (key, value))
        return (query @ key.transpose(-2, -1)).softmax(-1) @ value


@phase_costs.register(GroupedQuery)
def _grouped_query_costs(module: GroupedQuery, call: Call) -> PhaseCosts:
    query, key, value = (each.shape for each in call.inputs)
    attention = scaled_dot_product(
        batch=query[0],
        query_heads=query[1],
        key_value_heads=key[1],
        queries=query[2],
        keys=key[2],
        key_width=query[3],
        value_width=value[3],
    )
    forward, backward = (
        phase_cost(flop=flop, read=None, write=None, allocated=None)
        for flop in (attention.forward_flop, attention.backward_flop)
    )
    return {Phase.FORWARD: forward, Phase.GRAD_INPUT: backward}


def test_a_users_grouped_query_attention_counts_as_on_paper() -> None:
    shapes = ((2, 4, 5, 3), (2, 2, 7, 3), (2, 2, 7, 6))
    tensors = [torch.rand(shape, requires_grad=True) for shape in shapes]
    once = 2 * 2 * 4 * 5 * 7 * (3 + 6)
    assert step_of(GroupedQuery(), *tensors) == {
        "forward": (once, once),
        "backward": (2 * once, 2 * once),
    }
