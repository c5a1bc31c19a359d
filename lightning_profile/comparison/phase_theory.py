"""What a phase of a layer should cost in a step: the sum over its calls, or over those inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lightning_profile.comparison.notes import (
    GRAPH_INSIDE,
    KEPT,
    OWN_PRODUCTS,
    PARTIAL,
    REPEATED,
    has_compiled_graph,
)
from lightning_profile.comparison.summary import sum_costs
from lightning_profile.records import Cost, CostedCall, Layer, Measurement, Phase

PRODUCTS = {
    Phase.FORWARD: (Phase.FORWARD,),
    Phase.RECOMPUTE: (Phase.FORWARD,),
    Phase.BACKWARD: (Phase.GRAD_INPUT, Phase.GRAD_WEIGHT),
}


class PhaseTheory:
    """The theory of a window's rows.

    Args:
        layers: The watched layers by qualified name.
        calls: The window's list of calls with their costs; ``None`` for one that failed.
        rows: Measurements by layer.
    """

    def __init__(
        self,
        layers: Mapping[str, Layer],
        calls: Sequence[CostedCall | None],
        rows: Mapping[str, Sequence[Measurement]],
    ) -> None:
        self._layers = layers
        self._calls = calls
        self._rows = rows

    def of_phase(
        self,
        layer: Layer,
        phase: Phase,
        measured: Measurement | None,
        calls: Sequence[CostedCall],
    ) -> tuple[Cost | None, str]:
        """Theory of one step: the sum over its calls and the products of the phase."""
        cost, reason = self._of_calls(layer, phase, measured, calls)
        if measured is not None and measured.is_repeated:
            return None, REPEATED
        if measured is not None and cost is not None and _ran_in_part(phase, cost, measured):
            return None, KEPT if phase is Phase.RECOMPUTE else PARTIAL
        return cost, reason

    def _of_calls(
        self,
        layer: Layer,
        phase: Phase,
        measured: Measurement | None,
        calls: Sequence[CostedCall],
    ) -> tuple[Cost | None, str]:
        """The same, had all of it run."""
        has_formula = bool(calls) and None not in [call.costs for call in calls]
        containers: list[Measurement] = []  # without a formula: their own operators have no theory
        if measured is not None and layer.is_container and not has_formula:
            calls, containers = self._inside(measured)
            operators = [name for each in containers for name in each.direct_operators]
            products = dict.fromkeys(name for each in containers for name in each.direct_products)
            if has_compiled_graph(operators):
                return None, GRAPH_INSIDE
            if products:
                return None, OWN_PRODUCTS.format(", ".join(products))
        if not calls:
            return (sum_costs([]), "") if layer.is_container and measured else (None, "")
        unknown = [call.reason for call in calls if call.costs is None]
        if unknown:
            return None, "; ".join(dict.fromkeys(unknown))
        parts = [
            call.costs[product]
            for call in calls
            for product in PRODUCTS[phase]
            if call.costs is not None and product in call.costs
        ]
        cost = sum_costs(parts)
        if measured is None and not layer.in_compiled_graph and cost.flop:
            return None, ""  # it would have cost that, had it run
        if phase is Phase.BACKWARD and len(calls) > 1:
            cost = _without_allocated(cost)  # gradients of several calls are added up
        if layer.is_container and not has_formula:
            cost = _without_allocated(cost)  # inner results come and go
            if any(each.direct_operators for each in containers):
                cost = replace(cost, elementwise_flop=None, read_bytes=None, write_bytes=None)
        return cost, ""

    def _inside(self, measured: Measurement) -> tuple[list[CostedCall], list[Measurement]]:
        """What makes up a container's theory.

        Returns:
            The calls of layers inside, down to the first that has a formula, and the rows of the
            containers on the way, which have none.
        """
        with_theory: list[CostedCall] = []
        without = dict.fromkeys([] if measured.layer is None else [measured.layer])
        for position in measured.calls_inside:
            call = self._calls[position]
            if call is None or position in measured.calls or self._is_covered(call, measured):
                continue
            if self._layers[call.call.layer].is_container and call.costs is None:
                without[call.call.layer] = None
            else:
                with_theory.append(call)
        rows = [row for name in without for row in self._rows.get(name, ())]
        same = (measured.phase, measured.step)
        return with_theory, [row for row in rows if (row.phase, row.step) == same]

    def _is_covered(self, call: CostedCall, measured: Measurement) -> bool:
        """Whether a call between this one and the container has a formula of its own."""
        parent = call.call.parent
        while parent is not None and parent not in measured.calls:
            above = self._calls[parent]
            if above is None:
                return False
            if above.costs is not None:
                return True
            parent = above.call.parent
        return False


def _ran_in_part(phase: Phase, cost: Cost, measured: Measurement) -> bool:
    """Whether not all that theory has was to be computed."""
    counted_flop = measured.counted_flop
    falls_short = counted_flop is not None and counted_flop < cost.flop
    if phase is Phase.RECOMPUTE:
        return falls_short
    # A gradient may also be missing because the parameter is another layer's, too, or not used:
    # where all products were counted, all gradients were computed.
    is_known = counted_flop is not None and cost.flop > 0
    return measured.lacks_gradients and (falls_short or not is_known)


def _without_allocated(cost: Cost) -> Cost:
    return replace(cost, allocated_bytes=None, tensors=None)
