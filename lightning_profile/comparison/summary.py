"""Sums over calls, and one row for several steps."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from lightning_profile.records import (
    AllocatedTensor,
    Cost,
    DeviceUse,
    Measurement,
    Work,
    sum_or_unknown,
)

_Work = TypeVar("_Work", bound=Work)


def sum_costs(costs: Sequence[Cost]) -> Cost:
    """The cost of several products or calls together; derivations follow one another."""
    if len(costs) == 1:
        return costs[0]
    return Cost(
        flop=sum([cost.flop for cost in costs]),
        elementwise_flop=sum_or_unknown([cost.elementwise_flop for cost in costs]),
        read_bytes=sum_or_unknown([cost.read_bytes for cost in costs]),
        write_bytes=sum_or_unknown([cost.write_bytes for cost in costs]),
        allocated_bytes=sum_or_unknown([cost.allocated_bytes for cost in costs]),
        tensors=_all_tensors(costs),
        derivation=tuple(chain.from_iterable([cost.derivation for cost in costs])),
    )


def _all_tensors(costs: Sequence[Cost]) -> tuple[AllocatedTensor, ...] | None:
    tensors: list[AllocatedTensor] = []
    for cost in costs:
        if cost.tensors is None:
            return None
        tensors += cost.tensors
    return tuple(tensors)


def steps_of_one_batch_size(batch_sizes: Mapping[int, int | None]) -> list[int]:
    """The steps of the commonest batch size; of the earlier one if two are as common."""
    if not batch_sizes:
        return []
    commonest, _ = Counter(batch_sizes.values()).most_common(1)[0]
    return [step for step, size in batch_sizes.items() if size == commonest]


def summarise(rows: Sequence[Measurement]) -> Measurement:
    """One row for several steps: median times; the rest as in the step of median CPU time."""
    if len(rows) == 1:
        return rows[0]
    middle = sorted(rows, key=lambda row: row.cpu_time_ns)[(len(rows) - 1) // 2]
    return replace(
        _with_median_times(middle, rows),
        own=_with_median_times(middle.own, [row.own for row in rows]),
        wall_time_ns=_median(row.wall_time_ns for row in rows),
        on_device=_median_use(middle.on_device, rows),
    )


def _with_median_times(work: _Work, all_work: Sequence[_Work]) -> _Work:
    return replace(
        work,
        cpu_time_ns=round(statistics.median(each.cpu_time_ns for each in all_work)),
        device_time_ns=_median(each.device_time_ns for each in all_work),
    )


def _median_use(middle: DeviceUse | None, rows: Sequence[Measurement]) -> DeviceUse | None:
    """The kernels of the middle step, and the median of the sums over them."""
    if middle is None:
        return None
    uses = [row.on_device for row in rows if row.on_device is not None]
    return replace(
        middle,
        span_ns=_median(each.span_ns for each in uses),
        grad_input_device_time_ns=_median(each.grad_input_device_time_ns for each in uses),
        grad_weight_device_time_ns=_median(each.grad_weight_device_time_ns for each in uses),
    )


def _median(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known)) if known else None
