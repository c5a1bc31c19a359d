"""Theory beside measurement: one comparison per layer and phase of a window."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lightning_profile.records import Call, Comparison, Cost, Layer, Measurement, Phase

PhaseCosts = Mapping[Phase, Cost]

NOT_RUN = "did not run in the recorded steps (calls in a compiled graph are not seen)"
UNSUPPORTED = "no theory for this {}: theoretical values are unknown"
NOT_RECORDED = "no operator of its {} was recorded"
OTHER_BACKWARD = "backward ran for {} of {} calls: theoretical values are unknown"
NO_COUNT = "operators without a formula: counted FLOPs are unknown"


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


def comparable_steps(batch_sizes: Mapping[int, int | None], calls: Sequence[Call]) -> list[int]:
    """The steps that did the same work: one batch size, and the same calls of the same shapes.

    Args:
        batch_sizes: Samples in the batch of each recorded step, in order.
        calls: Every call of a selected layer.

    Returns:
        The steps of the commonest kind; of the earlier one if two are as common.
    """
    calls_of: defaultdict[int, list[Call]] = defaultdict(list)
    for call in calls:
        calls_of[call.step].append(replace(call, step=0))
    kinds = {step: (size, tuple(calls_of[step])) for step, size in batch_sizes.items()}
    if not kinds:
        return []
    commonest, _ = Counter(kinds.values()).most_common(1)[0]
    return [step for step, kind in kinds.items() if kind == commonest]


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
    measured = _summarise(measurements) if measurements else None
    notes = _notes(layer, phase, in_step, cost, measured)
    if phase is Phase.BACKWARD and measured is not None:
        differentiable = sum(call.output_requires_grad for call, _ in in_step)
        if measured.calls != differentiable:  # checkpointing, or a loss that was not used
            cost = None
            notes.append(OTHER_BACKWARD.format(measured.calls, differentiable))
    dtype = in_step[0][0].dtype if in_step else None
    return Comparison(
        layer=layer,
        phase=phase,
        steps=len({call.step for call, _ in calls}),
        calls=len(in_step),
        dtype=str(dtype).removeprefix("torch.") if dtype is not None else None,
        cost=cost,
        measured=measured,
        note="; ".join(notes),
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


def _notes(
    layer: Layer,
    phase: Phase,
    calls: Sequence[tuple[Call, PhaseCosts | None]],
    cost: Cost | None,
    measured: Measurement | None,
) -> list[str]:
    """Why something is unknown."""
    if not calls:
        return [NOT_RUN]
    notes = []
    if cost is None:
        notes.append(UNSUPPORTED.format(layer.type_name))
    if measured is None:
        notes.append(NOT_RECORDED.format(phase.value))
    elif measured.counted_flop is None:
        notes.append(NO_COUNT)
    return notes
