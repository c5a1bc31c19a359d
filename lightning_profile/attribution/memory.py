"""Which blocks outlived the execution that allocated them, and the peaks in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lightning_profile.attribution.spans import Assignment, FollowedBlock, RowKey, Span
from lightning_profile.records import Allocation, Block, Op

# Operators that do nothing but allocate: what a block is for, the one around them says.
_ALLOCATING = ("aten::empty", "aten::new_empty", "aten::resize_")


def follow_blocks(
    ops: Sequence[Op], assignment: Assignment, memory_device: str
) -> Mapping[RowKey, int]:
    """Add blocks, allocated and workspace bytes to the spans, those around each block included.

    Args:
        ops: Recorded operators.
        assignment: The span of each of them.
        memory_device: Type of the device whose blocks are followed, ``cpu`` or ``cuda``.

    Returns:
        Per row the most bytes of its own blocks that were alive at one moment.
    """
    followed: dict[int, FollowedBlock] = {}
    live: defaultdict[RowKey, int] = defaultdict(int)
    peaks: defaultdict[RowKey, int] = defaultdict(int)
    for allocation, position, span in _in_time_order(ops, assignment, memory_device):
        around = list(span.chain())
        for each in around:
            each.reserved_bytes = allocation.reserved_bytes
            each.cached_bytes = allocation.cached_bytes
        if allocation.bytes > 0:
            block = FollowedBlock(allocation.bytes, position, around)
            followed[allocation.address] = block
            for each in around:
                each.blocks.append(block)
                each.allocated_bytes += block.bytes
                live[each.row] += block.bytes
                peaks[each.row] = max(peaks[each.row], live[each.row])
            continue
        freed = followed.pop(allocation.address, None)
        if freed is None:  # from before the window
            continue
        freed.freed_in = around
        for each in freed.around:
            live[each.row] -= freed.bytes
            if each in around:
                each.allocated_bytes -= freed.bytes
                each.workspace_bytes += freed.bytes
    return peaks


def blocks_of(executions: Iterable[Span], ops: Sequence[Op]) -> tuple[Block, ...]:
    """Every block that was handed out in ``executions``."""
    return tuple(
        Block(
            operator=_purpose(ops, block.op),
            bytes=block.bytes,
            is_kept=span not in block.freed_in,
        )
        for span in executions
        for block in span.blocks
    )


def _purpose(ops: Sequence[Op], position: int) -> str:
    op = ops[position]
    while op.parent is not None and op.name.startswith(_ALLOCATING):
        op = ops[op.parent]
    return "" if op.call is not None else op.name


def _in_time_order(
    ops: Sequence[Op], assignment: Assignment, memory_device: str
) -> list[tuple[Allocation, int, Span]]:
    """Blocks handed out and taken back, with the operator's position and span."""
    events = []
    for position, (op, span) in enumerate(zip(ops, assignment.spans, strict=True)):
        optimizer, from_ns = assignment.optimizers.get(position, (span, 0))
        events += [
            (allocation, position, optimizer if allocation.time_ns >= from_ns else span)
            for allocation in op.allocations
            if allocation.device_type == memory_device
        ]
    # Stable: a block that is freed and handed out again within a tick keeps its order.
    return sorted(events, key=lambda event: event[0].time_ns)
