"""Theory beside measurement: one comparison per layer and phase of a window."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lightning_profile.records import Call, Comparison, Cost, Layer, Measurement, Phase

PhaseCosts = Mapping[Phase, Cost]

NOT_RUN = "did not run in the recorded steps"
UNSUPPORTED = "no theory for {}: theoretical values are unknown"
NO_BACKWARD = "no backward pass was recorded"


def sum_costs(costs: Sequence[Cost]) -> Cost:
    """The cost of several products or calls together; derivations follow one another."""
    return Cost(
        flop=sum(cost.flop for cost in costs),
        elementwise_flop=sum(cost.elementwise_flop for cost in costs),
        read_bytes=sum(cost.read_bytes for cost in costs),
        write_bytes=sum(cost.write_bytes for cost in costs),
        allocated_bytes=sum(cost.allocated_bytes for cost in costs),
        derivation=tuple(line for cost in costs for line in cost.derivation),
    )


def comparable_steps(batch_sizes: Mapping[int, int | None]) -> list[int]:
    """The steps of the commonest batch size; the earlier size if two are as common.

    Args:
        batch_sizes: Samples in the batch of each recorded step, in order.
    """
    if not batch_sizes:
        return []
    commonest, _ = Counter(batch_sizes.values()).most_common(1)[0]
    return [step for step, size in batch_sizes.items() if size == commonest]


def compare(
    layers: Sequence[Layer],
    calls: Sequence[tuple[Call, PhaseCosts | None]],
    measurements: Sequence[Measurement],
    steps: Sequence[int],
) -> list[Comparison]:
    """Comparisons of each layer, forward before backward, over ``steps``.

    Args:
        layers: The selected layers.
        calls: Every call with its costs per phase, ``None`` where there is no formula.
        measurements: Per layer, phase and step.
        steps: The steps to summarise; they have one batch size.
    """
    wanted = set(steps)
    comparisons = []
    for layer in layers:
        own_calls = [
            (call, costs)
            for call, costs in calls
            if call.layer == layer.qualified_name and call.step in wanted
        ]
        for phase in (Phase.FORWARD, Phase.BACKWARD):
            own = [
                row
                for row in measurements
                if row.layer == layer.qualified_name and row.phase is phase and row.step in wanted
            ]
            comparisons.append(_compare_phase(layer, phase, own_calls, own))
    return comparisons


def _compare_phase(
    layer: Layer,
    phase: Phase,
    calls: Sequence[tuple[Call, PhaseCosts | None]],
    measurements: Sequence[Measurement],
) -> Comparison:
    first_step = calls[0][0].step if calls else None
    in_step = [(call, costs) for call, costs in calls if call.step == first_step]
    cost = _cost(phase, [costs for _, costs in in_step])
    dtype = in_step[0][0].dtype if in_step else None
    return Comparison(
        layer=layer,
        phase=phase,
        steps=len({call.step for call, _ in calls}),
        calls=len(in_step),
        dtype=str(dtype).removeprefix("torch.") if dtype is not None else None,
        cost=cost,
        measured=_summarise(measurements) if measurements else None,
        note=_note(layer, bool(calls), cost, bool(measurements)),
    )


def _cost(phase: Phase, costs: Sequence[PhaseCosts | None]) -> Cost | None:
    """Theory of one step: the sum over its calls and the products of the phase."""
    if not costs:
        return None
    products = (Phase.FORWARD,) if phase is Phase.FORWARD else (Phase.GRAD_INPUT, Phase.GRAD_WEIGHT)
    parts = []
    for of_call in costs:
        if of_call is None:
            return None
        parts += [of_call[product] for product in products if product in of_call]
    return sum_costs(parts)


def _summarise(rows: Sequence[Measurement]) -> Measurement:
    """One row for several steps: median times; the rest as in the step of median CPU time."""
    middle = sorted(rows, key=lambda row: row.cpu_time_ns)[(len(rows) - 1) // 2]
    device_times = [row.device_time_ns for row in rows if row.device_time_ns is not None]
    return replace(
        middle,
        cpu_time_ns=round(statistics.median(row.cpu_time_ns for row in rows)),
        device_time_ns=round(statistics.median(device_times)) if device_times else None,
    )


def _note(layer: Layer, did_run: bool, cost: Cost | None, was_measured: bool) -> str:
    if not did_run:
        return NOT_RUN
    notes = []
    if cost is None:
        notes.append(UNSUPPORTED.format(layer.type_name))
    if not was_measured:
        notes.append(NO_BACKWARD)
    return "; ".join(notes)
