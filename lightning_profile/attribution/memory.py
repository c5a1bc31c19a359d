"""Which blocks outlived the execution that allocated them, and the peaks in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lightning_profile.attribution.spans import Assignment, RowKey, Span
from lightning_profile.records import Allocation, Op


def follow_blocks(
    ops: Sequence[Op], assignment: Assignment, memory_device: str
) -> Mapping[RowKey, int]:
    """Add allocated and workspace bytes to the spans, those around each block included.

    Args:
        ops: Recorded operators.
        assignment: The span of each of them.
        memory_device: Type of the device whose blocks are followed, ``cpu`` or ``cuda``.

    Returns:
        Per row the most bytes of its own blocks that were alive at one moment.
    """
    owners_of: dict[int, tuple[list[Span], int]] = {}
    live: defaultdict[RowKey, int] = defaultdict(int)
    peaks: defaultdict[RowKey, int] = defaultdict(int)
    for allocation, span in _in_time_order(ops, assignment):
        if allocation.device_type != memory_device:
            continue
        around = list(span.chain())
        for each in around:
            each.reserved_bytes = allocation.reserved_bytes
        size = allocation.bytes
        if size > 0:
            owners_of[allocation.address] = (around, size)
            for each in around:
                each.allocated_bytes += size
                live[each.row] += size
                peaks[each.row] = max(peaks[each.row], live[each.row])
            continue
        owners, size = owners_of.pop(allocation.address, ([], 0))  # none if from before the window
        for each in owners:
            live[each.row] -= size
            if each in around:
                each.allocated_bytes -= size
                each.workspace_bytes += size
    return peaks


def _in_time_order(ops: Sequence[Op], assignment: Assignment) -> list[tuple[Allocation, Span]]:
    events = []
    for position, (op, span) in enumerate(zip(ops, assignment.spans, strict=True)):
        optimizer, from_ns = assignment.optimizers.get(position, (span, 0))
        events += [
            (allocation, optimizer if allocation.time_ns >= from_ns else span)
            for allocation in op.allocations
        ]
    # Stable: a block that is freed and handed out again within a tick keeps its order.
    return sorted(events, key=lambda event: event[0].time_ns)
