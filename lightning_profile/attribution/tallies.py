"""What operators did, added up once per execution."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lightning_profile.records import Op


@dataclass(slots=True)
class Tally:
    """Sums over operators.

    Attributes:
        cpu_time_ns: Own times of all but the marks of calls.
        python_time_ns: Own times of those: Python between the operators.
        device_time_ns: Of all kernels.
        kernels: How many.
        launches_graph: Whether a CUDA graph was launched.
        counted_flop: Products, as far as they have a formula.
        counted_elementwise_flop: ``None`` if no operator has a formula for them.
        counts: How many operators of each name, the marks of calls left out.
        cpu_times_ns: Their own times, by name.
        device_times_ns: Times of their kernels, by name; without those that launched none.
        products: Names of those that do products.
        uncounted: Names of those that do products and have no formula.
        casts: How many of each kind.
    """

    cpu_time_ns: int = 0
    python_time_ns: int = 0
    device_time_ns: int = 0
    kernels: int = 0
    launches_graph: bool = False
    counted_flop: int = 0
    counted_elementwise_flop: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    cpu_times_ns: dict[str, int] = field(default_factory=dict)
    device_times_ns: dict[str, int] = field(default_factory=dict)
    products: dict[str, None] = field(default_factory=dict)
    uncounted: dict[str, None] = field(default_factory=dict)
    casts: dict[str, int] = field(default_factory=dict)


def tally(
    ops: Sequence[Op],
    positions: Sequence[int],
    own_times_ns: Sequence[int],
    never_executed: Collection[int],
) -> Tally:
    """Sums over the operators at ``positions``.

    Args:
        ops: Recorded operators.
        positions: Which of them.
        own_times_ns: Each operator's time without its children's.
        never_executed: Positions of operators that were entered and computed nothing.
    """
    sums = Tally()
    counts, cpu_times_ns = sums.counts, sums.cpu_times_ns
    for position in positions:
        op = ops[position]
        if op.launched or op.launches_graph:
            _add_kernels(sums, op)
        if op.call is not None:
            sums.python_time_ns += own_times_ns[position]
            continue
        name = op.name
        counts[name] = counts.get(name, 0) + 1
        cpu_times_ns[name] = cpu_times_ns.get(name, 0) + own_times_ns[position]
        if op.cast is not None:
            sums.casts[op.cast] = sums.casts.get(op.cast, 0) + 1
        is_counted = op.counted_flop is not None or op.counted_elementwise_flop is not None
        if (is_counted or op.is_uncounted) and position not in never_executed:
            _add_counted(sums, op)
    sums.cpu_time_ns = sum(cpu_times_ns.values())
    return sums


def merge(tallies: Sequence[Tally]) -> Tally:
    """The sums of all ``tallies``, which stay as they are."""
    if len(tallies) == 1:
        return tallies[0]
    elementwise = [
        each.counted_elementwise_flop
        for each in tallies
        if each.counted_elementwise_flop is not None
    ]
    merged = Tally(
        cpu_time_ns=sum([each.cpu_time_ns for each in tallies]),
        python_time_ns=sum([each.python_time_ns for each in tallies]),
        device_time_ns=sum([each.device_time_ns for each in tallies]),
        kernels=sum([each.kernels for each in tallies]),
        launches_graph=any(each.launches_graph for each in tallies),
        counted_flop=sum([each.counted_flop for each in tallies]),
        counted_elementwise_flop=sum(elementwise) if elementwise else None,
    )
    for each in tallies:
        _add(merged.counts, each.counts)
        _add(merged.cpu_times_ns, each.cpu_times_ns)
        _add(merged.device_times_ns, each.device_times_ns)
        _add(merged.casts, each.casts)
        merged.products.update(each.products)
        merged.uncounted.update(each.uncounted)
    return merged


def _add(sums: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0) + value


def _add_kernels(sums: Tally, op: Op) -> None:
    time_ns = op.device_time_ns or 0
    sums.device_time_ns += time_ns
    sums.kernels += op.kernels
    sums.launches_graph |= op.launches_graph
    if op.call is None:
        sums.device_times_ns[op.name] = sums.device_times_ns.get(op.name, 0) + time_ns


def _add_counted(sums: Tally, op: Op) -> None:
    if op.counted_flop or op.is_uncounted:
        sums.products[op.name] = None
        sums.counted_flop += op.counted_flop or 0
    if op.is_uncounted:
        sums.uncounted[op.name] = None
    if op.counted_elementwise_flop is not None:
        elementwise_flop = sums.counted_elementwise_flop or 0
        sums.counted_elementwise_flop = elementwise_flop + op.counted_elementwise_flop
