"""The most that the tensors of a step held at one moment, whichever rows they belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from lightning_profile.records import Allocation, Op


def step_peaks(ops: Sequence[Op], memory_device: str) -> dict[int, int]:
    """By step, the most bytes of blocks handed out in it that were alive at one moment.

    What was there before the step is not in it: parameters, the optimizers' state, the data.

    Args:
        ops: Recorded operators.
        memory_device: Type of the device whose blocks are meant, ``cpu`` or ``cuda``.
    """
    by_step: defaultdict[int, list[Allocation]] = defaultdict(list)
    for op in ops:
        if op.allocations:
            by_step[op.step] += [
                each for each in op.allocations if each.device_type == memory_device
            ]
    return {step: _peak_bytes(allocations) for step, allocations in by_step.items() if allocations}


def _peak_bytes(allocations: Sequence[Allocation]) -> int:
    alive: dict[int, int] = {}  # bytes by address
    live_bytes = peak_bytes = 0
    # Stable: a block that is freed and handed out again within a tick keeps its order.
    for each in sorted(allocations, key=lambda allocation: allocation.time_ns):
        if each.bytes > 0:
            alive[each.address] = each.bytes
            live_bytes += each.bytes
            peak_bytes = max(peak_bytes, live_bytes)
        else:
            live_bytes -= alive.pop(each.address, 0)  # 0: it is from before the step
    return peak_bytes
