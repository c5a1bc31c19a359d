"""One comparison per layer and phase of a window, one of the optimizer, and one of the rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from lightning_profile.comparison.limits import Limits
from lightning_profile.comparison.memory import Rounding, memory_table, rounding_of
from lightning_profile.comparison.notes import (
    IN_GRAPH,
    NO_SHAPES,
    OTHER_SHAPES,
    SOME_STEPS,
    cast_note,
    count_note,
    device_note,
    residual_note,
    why_not_measured,
)
from lightning_profile.comparison.phase_theory import PRODUCTS, PhaseTheory
from lightning_profile.comparison.rest import compare_rest
from lightning_profile.comparison.summary import summarise
from lightning_profile.records import (
    Comparison,
    CostedCall,
    Layer,
    Measurement,
    Phase,
)


def compare(
    layers: Sequence[Layer],
    calls: Sequence[CostedCall | None],
    measurements: Sequence[Measurement],
    steps: Sequence[int],
    *,
    inferred: Sequence[CostedCall | None] = (),
    graph_fault: str = "",
    memory_device: str = "cpu",
    allocator_settings: str = "",
    limits: Limits | None = None,
) -> list[Comparison]:
    """Comparisons of each reported layer, forward before backward, the optimizer, and the rest.

    Args:
        layers: The watched layers.
        calls: The window's list of calls with their costs; ``None`` for one that failed.
        measurements: Per layer, phase and step.
        steps: The steps to summarise; they have one batch size.
        inferred: Calls inside of compiled graphs in one step, which could not be recorded.
        graph_fault: Why there are none.
        memory_device: Type of the device whose blocks were followed.
        allocator_settings: How its allocator is set.
        limits: What the device allows at best; ``None`` if unknown.
    """
    summarised = set(steps)
    measurements = [row for row in measurements if row.step in summarised]
    by_layer: defaultdict[str, list[Measurement]] = defaultdict(list)
    for row in measurements:
        if row.layer is not None:
            by_layer[row.layer].append(row)
    rounding = rounding_of(memory_device, allocator_settings)
    by_name = {layer.qualified_name: layer for layer in layers}
    window = _Window(by_name, calls, inferred, graph_fault, len(steps), by_layer, rounding, limits)
    comparisons = []
    for layer in layers:
        if layer.has_row:
            comparisons += window.compare(layer)
    return comparisons + compare_rest(measurements, len(steps))


class _Window:
    """What comparisons of a window need to know beside their own rows."""

    def __init__(
        self,
        layers: Mapping[str, Layer],
        calls: Sequence[CostedCall | None],
        inferred: Sequence[CostedCall | None],
        graph_fault: str,
        steps: int,
        rows: Mapping[str, Sequence[Measurement]],
        rounding: Rounding | None,
        limits: Limits | None,
    ) -> None:
        self._limits = limits
        self._rounding = rounding
        self._theory = PhaseTheory(layers, calls, rows)
        self._rows = rows
        self._calls = calls
        self._forwards = _forwards_by_layer(calls)
        self._inferred = _forwards_by_layer(inferred)
        self._graph_fault = graph_fault
        self._steps = steps

    def compare(self, layer: Layer) -> list[Comparison]:
        all_rows = self._rows.get(layer.qualified_name, ())
        if layer.needs_own_work and not any(row.direct_operators for row in all_rows):
            return []
        rows: dict[Phase, list[Measurement]] = {phase: [] for phase in PRODUCTS}
        for row in all_rows:
            if row.phase is not None:
                rows[row.phase].append(row)
        typical = self._typical_steps(rows[Phase.FORWARD] or rows[Phase.RECOMPUTE])
        comparisons = []
        for phase, own in rows.items():
            if phase is Phase.RECOMPUTE and not own:
                continue
            notes = self._step_notes(own, len(typical)) if phase is Phase.FORWARD else []
            measured = [row for row in own if row.step in typical]
            comparisons.append(self._compare_phase(layer, phase, measured, notes))
        return comparisons

    def _compare_phase(
        self,
        layer: Layer,
        phase: Phase,
        rows: Sequence[Measurement],
        notes: list[str],
    ) -> Comparison:
        measured = summarise(rows) if rows else None
        if measured is None:
            calls = self._forward_calls(layer)
        else:
            calls = [call for p in measured.calls if (call := self._calls[p]) is not None]
        cost, reason = self._theory.of_phase(layer, phase, measured, calls)
        if layer.in_compiled_graph:
            notes.append(IN_GRAPH)
            if self._graph_fault:
                notes.append(NO_SHAPES.format(self._graph_fault))
        elif measured is None:
            notes.append(why_not_measured(phase, calls))
        if reason:
            notes.append(reason)
        memory = memory_table(cost, measured, self._rounding)
        if memory is not None and memory.residual_bytes:
            notes.append(residual_note(memory))
        if measured is not None:
            more = (count_note(measured), cast_note(measured), device_note(measured, calls))
            notes += [note for note in more if note]
        dtypes = [call.call.dtype for call in calls if call.call.dtype is not None]
        dtype = dtypes[0] if dtypes else None
        roofline = None
        if self._limits is not None:
            time_ns = None if measured is None else measured.time_ns
            roofline = self._limits.roofline_of(layer, dtype, cost, time_ns)
        return Comparison(
            layer=layer,
            phase=phase,
            steps=len(rows),
            calls=len(calls) if measured is not None or layer.in_compiled_graph else 0,
            dtype=dtype,
            cost=cost,
            measured=measured,
            memory=memory,
            roofline=roofline,
            note="; ".join(notes),
        )

    def _forward_calls(self, layer: Layer) -> list[CostedCall]:
        """The layer's forward calls in the first step that has any."""
        forwards = self._inferred if layer.in_compiled_graph else self._forwards
        own = forwards.get(layer.qualified_name, [])
        return [call for call in own if call.call.step == own[0].call.step]

    def _typical_steps(self, rows: Sequence[Measurement]) -> set[int]:
        """Steps in which the layer, and all inside of it, was called with the same shapes."""
        if len(rows) <= 1:
            return {row.step for row in rows}
        kinds = {row.step: self._kind(row) for row in rows}
        commonest, _ = Counter(kinds.values()).most_common(1)[0]
        return {step for step, kind in kinds.items() if kind == commonest}

    def _kind(self, row: Measurement) -> tuple[object, ...]:
        calls = [call.call for p in row.calls_inside if (call := self._calls[p]) is not None]
        return tuple((call.layer, call.index, call.geometry) for call in calls)

    def _step_notes(self, rows: Sequence[Measurement], typical: int) -> list[str]:
        ran = len({row.step for row in rows})
        notes = []
        if 0 < ran < self._steps:
            notes.append(SOME_STEPS.format(ran, self._steps))
        if typical < ran:
            notes.append(OTHER_SHAPES.format(ran, typical))
        return notes


def _forwards_by_layer(calls: Sequence[CostedCall | None]) -> dict[str, list[CostedCall]]:
    forwards: defaultdict[str, list[CostedCall]] = defaultdict(list)
    for call in calls:
        if call is not None and call.call.phase is Phase.FORWARD:
            forwards[call.call.layer].append(call)
    return forwards
