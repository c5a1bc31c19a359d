"""The products of a recurrent layer, layer by layer and direction by direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from lightning_profile.records import Call, TensorFact
from lightning_profile.theory.expression import Expression, product, symbol, total


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """One layer in one direction over all steps.

    Attributes:
        rows: Steps of all sequences together.
        first_rows: Of these, the first steps, one per sequence.
        gate_outputs: Elements of all gates per row.
        hidden: Elements of a gate per row.
        input_width: Elements of the input per row.
        state_width: Elements of the recurrent state per row.
        has_projection: Whether the state is projected from ``hidden`` elements to fewer.
        input_needs_gradient: Whether the input does.
        state_needs_gradient: Whether the state before the first step does.
        cell_needs_gradient: Whether the LSTM's cell state before the first step does.
        trained: Parameters that get a gradient, such as ``weight_ih``.
    """

    rows: Expression
    first_rows: Expression
    gate_outputs: Expression
    hidden: Expression
    input_width: Expression
    state_width: Expression
    has_projection: bool
    input_needs_gradient: bool
    state_needs_gradient: bool
    cell_needs_gradient: bool
    trained: frozenset[str]

    @property
    def forward(self) -> Expression:
        """Multiply-accumulates of all products of the forward."""
        gates = self.rows * self.gate_outputs * (self.input_width + self.state_width)
        return gates + self._projection(self.rows) if self.has_projection else gates

    @property
    def grad_input(self) -> Expression:
        """Multiply-accumulates of all gradients but those of parameters."""
        later = self.rows - self.first_rows
        parts = [
            (self.input_needs_gradient, self._input_product),
            (self.output_needs_gradient, self._recurrent_product(later)),
            (self.state_needs_gradient, self._recurrent_product(self.first_rows)),
        ]
        if self.has_projection:
            # At the first step there may be nothing before the projection to have a gradient.
            rows = self.rows if self._gates_need_gradient else later
            parts.append((self.output_needs_gradient, self._projection(rows)))
        return total([term for is_needed, term in parts if is_needed])

    @property
    def grad_weight(self) -> Expression:
        """Multiply-accumulates of the gradients of weights."""
        parts = {
            "weight_ih": self._input_product,
            "weight_hh": self._recurrent_product(self.rows),
            "weight_hr": self._projection(self.rows),
        }
        return total([term for name, term in parts.items() if name in self.trained])

    @property
    def output_needs_gradient(self) -> bool:
        """Whether the states after the steps do."""
        return self._gates_need_gradient or "weight_hr" in self.trained

    @property
    def _gates_need_gradient(self) -> bool:
        """Whether the gates of the first step do."""
        return (
            self.input_needs_gradient
            or self.state_needs_gradient
            or self.cell_needs_gradient
            or bool(self.trained - {"weight_hr"})
        )

    @property
    def _input_product(self) -> Expression:
        return self.rows * self.gate_outputs * self.input_width

    def _recurrent_product(self, rows: Expression) -> Expression:
        return rows * self.gate_outputs * self.state_width

    def _projection(self, rows: Expression) -> Expression:
        return rows * self.hidden * self.state_width


def network_recurrences(module: nn.RNNBase, call: Call, gates: int) -> list[Recurrence] | None:
    """Every layer and direction of RNN, LSTM or GRU; ``None`` if the tensors don't fit."""
    source, states = _arguments(call)
    sequences = _sequences(module, call)
    directions = 2 if module.bidirectional else 1
    hidden = symbol("H", module.hidden_size)
    state = symbol("P", module.proj_size) if module.proj_size else hidden
    outputs = directions * state
    if (
        sequences is None
        or source[0].shape[-1] != module.input_size
        or call.outputs[0].shape != (*source[0].shape[:-1], outputs.value)
    ):
        return None
    rows, first_rows = sequences
    width = symbol("in", module.input_size)
    needs_gradient = source[0].requires_grad
    recurrences: list[Recurrence] = []
    for layer in range(module.num_layers):
        stacked = [
            Recurrence(
                rows=rows,
                first_rows=first_rows,
                gate_outputs=symbol("gates", gates) * hidden,
                hidden=hidden,
                input_width=width,
                state_width=state,
                has_projection=bool(module.proj_size),
                input_needs_gradient=needs_gradient,
                state_needs_gradient=any(each.requires_grad for each in states[:1]),
                cell_needs_gradient=any(each.requires_grad for each in states[1:]),
                trained=_trained(call, f"_l{layer}{suffix}"),
            )
            for suffix in ("", "_reverse")[:directions]
        ]
        recurrences += stacked
        needs_gradient = any(each.output_needs_gradient for each in stacked)
        width = outputs if module.bidirectional else state
    return recurrences


def cell_recurrence(module: nn.RNNCellBase, call: Call, gates: int) -> Recurrence | None:
    """The one step of RNNCell, LSTMCell or GRUCell; ``None`` if the tensors don't fit."""
    source, states = _arguments(call)
    hidden = symbol("H", module.hidden_size)
    if (
        len(source) != 1
        or source[0].shape[-1] != module.input_size
        or call.outputs[0].shape != (*source[0].shape[:-1], module.hidden_size)
    ):
        return None
    rows = symbol("N", source[0].elements // module.input_size)
    return Recurrence(
        rows=rows,
        first_rows=rows,
        gate_outputs=symbol("gates", gates) * hidden,
        hidden=hidden,
        input_width=symbol("in", module.input_size),
        state_width=hidden,
        has_projection=False,
        input_needs_gradient=source[0].requires_grad,
        state_needs_gradient=any(each.requires_grad for each in states[:1]),
        cell_needs_gradient=any(each.requires_grad for each in states[1:]),
        trained=_trained(call, ""),
    )


def _arguments(call: Call) -> tuple[Sequence[TensorFact], Sequence[TensorFact]]:
    """The input, of a PackedSequence all its tensors, and the states before the first step."""
    return (
        [each for each in call.inputs if each.name == "input"],
        [each for each in call.inputs if each.name == "hx"],
    )


def _sequences(module: nn.RNNBase, call: Call) -> tuple[Expression, Expression] | None:
    """Rows over all steps, and first ones, which are as many as sequences."""
    source, _ = _arguments(call)
    shape = source[0].shape
    if len(source) > 1:  # a PackedSequence: its rows, then indices
        sequences = call.outputs[-1].shape[1]  # of the last states: layers, sequences, elements
        return symbol("rows", shape[0]), symbol("N", sequences)
    if len(shape) == 2:
        return symbol("T", shape[0]), symbol("N", 1)
    if len(shape) != 3:
        return None
    steps, sequences = reversed(shape[:2]) if module.batch_first else shape[:2]
    n = symbol("N", sequences)
    return product([symbol("T", steps), n]), n


def _trained(call: Call, suffix: str) -> frozenset[str]:
    names = ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")
    return frozenset(name for name in names if call.trains(f"{name}{suffix}"))
