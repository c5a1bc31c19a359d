"""nn.MultiheadAttention."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_profile.records import Phase
from lightning_profile.theory import cost_call
from tests.theory.arithmetic import evaluate
from tests.theory.calls import call_layer
from tests.theory.products import assert_counted_equals_theory, costs_of_call, flop_of, step_of

BATCH, QUERIES, KEYS, WIDTH, HEADS = 2, 5, 7, 8, 2


def causal(queries: int, keys: int) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool).tril().logical_not()


def sources(
    *, needs: tuple[bool, bool, bool] = (True, True, True), widths: tuple[int, int] = (WIDTH, WIDTH)
) -> list[Tensor]:
    """Query, key and value, with the batch first."""
    shapes = ((QUERIES, WIDTH), (KEYS, widths[0]), (KEYS, widths[1]))
    return [
        torch.rand(BATCH, *shape, requires_grad=need)
        for shape, need in zip(shapes, needs, strict=True)
    ]


def test_every_number_of_a_call_by_hand() -> None:
    module = nn.MultiheadAttention(WIDTH, HEADS, kdim=3, vdim=6, batch_first=True)
    costs = costs_of_call(module, *sources(widths=(3, 6)))
    q, k, v = 2 * 5 * 8 * 8, 2 * 7 * 8 * 3, 2 * 7 * 8 * 6
    out, scores, pairs = 2 * 5 * 8 * 8, 2 * 2 * 5 * 7 * 4, 2 * 2 * 5 * 7
    biases = 2 * 8 * (5 + 7 + 7 + 5)
    assert flop_of(costs) == {
        "forward": 2 * (q + k + v + 2 * scores + out),
        "grad_input": 2 * (q + k + v + 4 * scores + out),
        "grad_weight": 2 * (q + k + v + out),
    }
    forward, grad_input, grad_weight = costs.values()
    assert forward.elementwise_flop == 7 * pairs + biases  # the mean over the heads on top
    assert grad_input.elementwise_flop == 5 * pairs
    assert grad_weight.elementwise_flop == biases
    source_bytes = 4 * 2 * (5 * 8 + 7 * 3 + 7 * 6)
    parameter_bytes = 4 * (8 * (8 + 3 + 6 + 8) + 4 * 8)
    assert forward.read_bytes == source_bytes + parameter_bytes
    assert forward.write_bytes == 4 * (2 * 5 * 8 + 2 * 5 * 7)
    assert grad_input.read_bytes == 4 * 2 * 5 * 8 + source_bytes + parameter_bytes
    assert grad_input.write_bytes == source_bytes
    assert grad_weight.read_bytes == 4 * 2 * 5 * 8 + source_bytes
    assert grad_weight.write_bytes == parameter_bytes
    assert {cost.allocated_bytes for cost in costs.values()} == {None}


@settings(deadline=None, max_examples=40)
@given(
    needs=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    frozen=st.sets(
        st.sampled_from(["in_proj", "q_proj", "k_proj", "out_proj", "bias_k", "bias_v"])
    ),
    widths=st.sampled_from([(8, 8), (3, 6), (8, 6)]),
    bias=st.booleans(),
    add_bias_kv=st.booleans(),
    add_zero_attn=st.booleans(),
    mask=st.sampled_from([None, "attn_mask", "key_padding_mask"]),
)
def test_counted_equals_theory_where_the_weights_are_wanted(
    needs: tuple[bool, bool, bool],
    frozen: set[str],
    widths: tuple[int, int],
    mask: str | None,
    **settings_of_module: bool,
) -> None:
    module = nn.MultiheadAttention(
        WIDTH, HEADS, kdim=widths[0], vdim=widths[1], batch_first=True, **settings_of_module
    )
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(frozen)))
    assume(any(needs) or any(each.requires_grad for each in module.parameters()))
    masks = {
        "attn_mask": torch.zeros(QUERIES, KEYS, dtype=torch.bool),
        "key_padding_mask": torch.zeros(BATCH, KEYS, dtype=torch.bool),
    }
    options = {mask: masks[mask]} if mask else {}
    rows = step_of(module, *sources(needs=needs, widths=widths), **options)
    assert_counted_equals_theory(rows)
    assert rows["forward"][0] > 0


@pytest.mark.parametrize(
    ("only", "products"),
    [("bias_k", 2), ("bias_v", 1), ("attn_mask", 1)],  # dP and dK, dV, dP
)
def test_counted_equals_theory_where_only_one_operand_needs_a_gradient(
    only: str, products: int
) -> None:
    module = nn.MultiheadAttention(WIDTH, HEADS, add_bias_kv=True, batch_first=True)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name == only)
    mask = torch.zeros(QUERIES, KEYS, requires_grad=only == "attn_mask")
    rows = step_of(module, *sources(needs=(False, False, False)), attn_mask=mask)
    out_projection = 2 * BATCH * QUERIES * WIDTH * WIDTH
    once = 2 * BATCH * QUERIES * (KEYS + 1) * WIDTH
    expected = out_projection + products * once
    assert rows["backward"] == (expected, expected)


@pytest.mark.parametrize("needs_gradient", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_a_fused_backward_is_one_product_of_scores_more(masked: bool, needs_gradient: bool) -> None:
    module = nn.MultiheadAttention(WIDTH, HEADS)
    source = torch.rand(QUERIES, BATCH, WIDTH, requires_grad=needs_gradient)
    mask = torch.zeros(QUERIES, QUERIES) if masked else None
    rows = step_of(module, source, source, source, need_weights=False, attn_mask=mask)
    forward, backward = rows["forward"], rows["backward"]
    assert forward[1] == forward[0]
    assert backward[1] - backward[0] == 2 * BATCH * QUERIES * QUERIES * WIDTH


@pytest.mark.parametrize("need_weights", [True, False])
def test_of_causal_attention_the_masked_half_is_counted_and_not_on_paper(
    need_weights: bool,
) -> None:
    module = nn.MultiheadAttention(WIDTH, HEADS)
    source = torch.rand(QUERIES, BATCH, WIDTH)
    full = step_of(module, source, source, source, need_weights=need_weights)
    rows = step_of(
        module,
        source,
        source,
        source,
        need_weights=need_weights,
        attn_mask=causal(QUERIES, QUERIES),
        is_causal=True,
    )
    pairs = QUERIES * (QUERIES - 1) // 2
    assert rows["forward"][1] == full["forward"][1]
    assert full["forward"][0] - rows["forward"][0] == 2 * 2 * BATCH * pairs * WIDTH
    assert full["backward"][0] - rows["backward"][0] == 4 * 2 * BATCH * pairs * WIDTH


def test_a_mask_without_the_hint_hides_nothing_on_paper() -> None:
    module, source = nn.MultiheadAttention(WIDTH, HEADS), torch.rand(QUERIES, WIDTH)
    mask = causal(QUERIES, QUERIES)
    plain = costs_of_call(module, source, source, source)
    masked = costs_of_call(module, source, source, source, attn_mask=mask)
    hinted = costs_of_call(module, source, source, source, attn_mask=mask, is_causal=True)
    assert flop_of(masked) == flop_of(plain)
    additions = HEADS * QUERIES * QUERIES
    assert masked[Phase.FORWARD].elementwise_flop == (
        (plain[Phase.FORWARD].elementwise_flop or 0) + additions
    )
    assert masked[Phase.FORWARD].read_bytes == (
        (plain[Phase.FORWARD].read_bytes or 0) + QUERIES * QUERIES
    )
    assert hinted[Phase.FORWARD].read_bytes == plain[Phase.FORWARD].read_bytes


def test_batch_first_batch_second_and_no_batch() -> None:
    first = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    second = nn.MultiheadAttention(WIDTH, HEADS)
    tensors = sources()
    swapped = [each.transpose(0, 1).detach().requires_grad_() for each in tensors]
    single = [each[:1].detach().requires_grad_() for each in tensors]
    squeezed = [each[0].detach().requires_grad_() for each in tensors]
    assert flop_of(costs_of_call(first, *tensors)) == flop_of(costs_of_call(second, *swapped))
    assert flop_of(costs_of_call(first, *single)) == flop_of(costs_of_call(first, *squeezed))
    assert flop_of(costs_of_call(first, *single)) == flop_of(costs_of_call(second, *squeezed))
    assert flop_of(costs_of_call(first, *tensors)) == {
        phase: BATCH * flop for phase, flop in flop_of(costs_of_call(first, *single)).items()
    }


def test_each_appended_key_is_one_more() -> None:
    per_key = 2 * 2 * BATCH * QUERIES * WIDTH
    plain = costs_of_call(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), *sources())
    longer = nn.MultiheadAttention(
        WIDTH, HEADS, add_bias_kv=True, add_zero_attn=True, batch_first=True
    )
    costs = costs_of_call(longer, *sources())
    assert costs[Phase.FORWARD].flop == plain[Phase.FORWARD].flop + 2 * per_key
    assert costs[Phase.GRAD_INPUT].flop == plain[Phase.GRAD_INPUT].flop + 2 * 2 * per_key
    assert costs[Phase.GRAD_WEIGHT].flop == plain[Phase.GRAD_WEIGHT].flop
    assert costs[Phase.GRAD_WEIGHT].elementwise_flop == (
        (plain[Phase.GRAD_WEIGHT].elementwise_flop or 0) + 2 * BATCH * WIDTH
    )
    real = call_layer(longer, *sources(), attn_mask=causal(QUERIES, KEYS), is_causal=True)
    assert cost_call(real.layer, real.call).costs is None  # see the module's docstring


def test_frozen_parameters_and_inputs_without_gradient() -> None:
    nothing = (False, False, False)
    out = 2 * BATCH * QUERIES * WIDTH * WIDTH
    only_output = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    only_output.in_proj_weight.requires_grad_(requires_grad=False)
    only_output.in_proj_bias.requires_grad_(requires_grad=False)
    assert flop_of(costs_of_call(only_output, *sources(needs=nothing))) == {
        "forward": flop_of(costs_of_call(only_output, *sources()))["forward"],
        "grad_weight": out,
    }
    frozen = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).requires_grad_(
        requires_grad=False
    )
    assert set(costs_of_call(frozen, *sources(needs=nothing))) == {Phase.FORWARD}
    scores = 2 * BATCH * QUERIES * KEYS * WIDTH
    values = costs_of_call(frozen, *sources(needs=(False, False, True)))
    assert flop_of(values)["grad_input"] == out + scores + 2 * BATCH * KEYS * WIDTH * WIDTH
    assert values[Phase.GRAD_INPUT].elementwise_flop == 0  # the softmax is not passed
    with torch.no_grad():
        assert set(costs_of_call(only_output, *sources())) == {Phase.FORWARD}


def test_dropout_costs_three_operations_per_pair_and_one_backward_in_training_only() -> None:
    module = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.5, batch_first=True)
    training, evaluation = (
        costs_of_call(module, *sources()),
        costs_of_call(module.eval(), *sources()),
    )
    for phase, operations in ((Phase.FORWARD, 3), (Phase.GRAD_INPUT, 1)):
        dropped = training[phase].elementwise_flop or 0
        dropped -= evaluation[phase].elementwise_flop or 0
        assert dropped == operations * BATCH * HEADS * QUERIES * KEYS


@settings(deadline=None, max_examples=20)
@given(st.booleans(), st.booleans(), st.booleans())
def test_each_derivation_gives_the_number_it_stands_beside(
    is_causal: bool, appended: bool, bias: bool
) -> None:
    module = nn.MultiheadAttention(
        WIDTH, HEADS, add_zero_attn=appended, bias=bias, batch_first=True
    )
    options = {"attn_mask": causal(QUERIES, KEYS), "is_causal": True} if is_causal else {}
    real = call_layer(module, *sources(), **options)
    costs = cost_call(real.layer, real.call).costs
    assert (costs is None) == (is_causal and appended)
    for cost in (costs or {}).values():
        lines = {line.quantity: line for line in cost.derivation}
        assert lines["FLOPs"].value == cost.flop
        assert lines["compulsory reads"].value == cost.read_bytes
        for line in cost.derivation:
            assert evaluate(line.numbers) == line.value
