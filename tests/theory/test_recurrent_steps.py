"""RNN, LSTM, GRU and their cells: theory beside the count of real steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from tests.theory.products import (
    TheoryAndCount,
    assert_counted_equals_theory,
    step_of,
    trainable,
)

# torch.backends.mkldnn.flags sets all of oneDNN's flags, also the one that is for Intel's GPUs.
pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")

STEPS, BATCH, INPUT, HIDDEN = 5, 3, 4, 6
GATES = {nn.RNN: 1, nn.LSTM: 4, nn.GRU: 3}


def source(*, needs_gradient: bool = False) -> Tensor:
    return torch.rand(STEPS, BATCH, INPUT, requires_grad=needs_gradient)


def unfused_step_of(module: nn.Module, *args: Any) -> TheoryAndCount:
    """As :func:`step_of`, operator by operator."""
    with torch.backends.mkldnn.flags(enabled=False):
        return step_of(module, *args)


def has_backward(module: nn.Module, arguments: list[Any]) -> bool:
    return bool(trainable([*arguments, *module.parameters()]))


@settings(deadline=None, max_examples=80)
@given(
    kind=st.sampled_from([nn.RNN, nn.LSTM, nn.GRU]),
    num_layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    batch_first=st.booleans(),
    projected=st.booleans(),
    steps=st.integers(1, 4),
    needs=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    given_states=st.booleans(),
    frozen=st.sets(
        st.sampled_from(
            ["weight_ih_l0", "weight_hh", "weight_hr", "bias", "weight_ih", "_l0", "_l1"]
        )
    ),
)
def test_counted_equals_theory_in_a_real_step(
    *,
    kind: type[nn.RNNBase],
    projected: bool,
    steps: int,
    needs: tuple[bool, bool, bool],
    given_states: bool,
    frozen: set[str],
    **options: Any,
) -> None:
    if projected and kind is nn.LSTM:
        options["proj_size"] = 2
    module = kind(INPUT, HIDDEN, **options)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not any(part in name for part in frozen))
    shape = (BATCH, steps) if options["batch_first"] else (steps, BATCH)
    arguments: list[Any] = [torch.rand(*shape, INPUT, requires_grad=needs[0])]
    if given_states:
        count = options["num_layers"] * (2 if options["bidirectional"] else 1)
        hidden = torch.rand(count, BATCH, options.get("proj_size", HIDDEN), requires_grad=needs[1])
        cell = torch.rand(count, BATCH, HIDDEN, requires_grad=needs[2])
        arguments.append((hidden, cell) if kind is nn.LSTM else hidden)
    assume(has_backward(module, arguments))
    # On CPU only the LSTM is fused.
    run = unfused_step_of if kind is nn.LSTM else step_of
    assert_counted_equals_theory(run(module, *arguments))


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([nn.RNNCell, nn.LSTMCell, nn.GRUCell]),
    st.booleans(),
    st.booleans(),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.sampled_from(["", "weight_ih", "weight_hh", "weight", "bias"]),
)
def test_counted_equals_theory_in_a_real_step_of_a_cell(
    kind: type[nn.RNNCellBase],
    batched: bool,
    bias: bool,
    needs: tuple[bool, bool, bool],
    frozen: str,
) -> None:
    module = kind(INPUT, HIDDEN, bias=bias)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not (frozen and name.startswith(frozen)))
    leading = (BATCH,) if batched else ()
    tensors = [
        torch.rand(*leading, width, requires_grad=need)
        for width, need in zip((INPUT, HIDDEN, HIDDEN), needs, strict=True)
    ]
    hx = (tensors[1], tensors[2]) if kind is nn.LSTMCell else tensors[1]
    assume(has_backward(module, [tensors[0], hx]))
    assert_counted_equals_theory(step_of(module, tensors[0], hx))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("needs_gradient", [True, False])
def test_onednns_lstm_computes_the_gradients_of_input_and_first_state_too(
    needs_gradient: bool, bidirectional: bool
) -> None:
    module = nn.LSTM(INPUT, HIDDEN, num_layers=2, bidirectional=bidirectional)
    rows = step_of(module, source(needs_gradient=needs_gradient))
    (forward, counted_forward), (backward, counted_backward) = rows.values()
    assert counted_forward == forward
    assert counted_backward == 2 * forward
    directions = 2 if bidirectional else 1
    first_states = 2 * directions * 2 * BATCH * 4 * HIDDEN * HIDDEN
    unused_input = 0 if needs_gradient else directions * 2 * STEPS * BATCH * 4 * HIDDEN * INPUT
    assert counted_backward - backward == first_states + unused_input


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("needs_gradient", [True, False])
def test_packed_sequences_take_their_rows_and_no_more(
    kind: type[nn.RNNBase], needs_gradient: bool
) -> None:
    lengths = (4, 1, 5)
    packed = pack_sequence([torch.rand(each, INPUT) for each in lengths], enforce_sorted=False)
    packed.data.requires_grad_(needs_gradient)
    rows = unfused_step_of(kind(INPUT, HIDDEN, num_layers=2), packed)
    assert_counted_equals_theory(rows)
    per_row = GATES[kind] * HIDDEN * (INPUT + HIDDEN + HIDDEN + HIDDEN)
    assert rows["forward"][0] == 2 * sum(lengths) * per_row

    # In reverse only the sequences that have the last step begin with their first states.
    both = unfused_step_of(kind(INPUT, HIDDEN, bidirectional=True), packed)
    theory, counted = both["backward"]
    begun_later = len(lengths) - 1
    assert both["forward"][0] == both["forward"][1]
    assert counted - theory == 2 * begun_later * GATES[kind] * HIDDEN * HIDDEN

    equal = pack_sequence([torch.rand(4, INPUT) for _ in range(2)])
    assert_counted_equals_theory(unfused_step_of(kind(INPUT, HIDDEN, bidirectional=True), equal))


def test_where_only_the_projection_trains_the_first_step_needs_no_gradient_before_it() -> None:
    module = nn.LSTM(INPUT, HIDDEN, proj_size=2)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name == "weight_hr_l0")
    rows = unfused_step_of(module, source())
    assert_counted_equals_theory(rows)
    later, by_projection = 12 * (4 * 6 * 2 + 6 * 2), 15 * 6 * 2
    assert rows["backward"][0] == 2 * (later + by_projection)


def test_a_cell_state_that_needs_a_gradient_does_so_at_every_step() -> None:
    module = nn.LSTM(INPUT, HIDDEN).requires_grad_(requires_grad=False)
    hidden, cell = torch.rand(1, BATCH, HIDDEN), torch.rand(1, BATCH, HIDDEN, requires_grad=True)
    rows = unfused_step_of(module, source(), (hidden, cell))
    assert_counted_equals_theory(rows)
    assert rows["backward"][0] == 2 * 12 * 4 * 6 * 6
