"""Which blocks outlived the execution that allocated them, and the peaks in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning_profile.attribution.assignment import Assignment
from lightning_profile.attribution.spans import FollowedBlock, Row, Span
from lightning_profile.records import Allocation, Block, Blocks, Op

# Operators that do nothing but allocate: what a block is for, the one around them says.
_ALLOCATING = ("aten::empty", "aten::new_empty", "aten::resize_")


def follow_blocks(ops: Sequence[Op], assignment: Assignment, memory_device: str) -> None:
    """Note blocks in the spans, and their bytes in all rows that a span is a part of.

    Args:
        ops: Recorded operators.
        assignment: The span of each of them.
        memory_device: Type of the device whose blocks are followed, ``cpu`` or ``cuda``.
    """
    alive: dict[int, tuple[FollowedBlock, Sequence[Span]]] = {}  # by address, with the spans around
    for allocation, position, span in _in_time_order(ops, assignment, memory_device):
        around = span.around
        if allocation.reserved_bytes is not None:
            for each in around:
                each.row.reserved_bytes = allocation.reserved_bytes
                each.row.cached_bytes = allocation.cached_bytes
        if allocation.bytes > 0:
            block = FollowedBlock(allocation.bytes, position)
            span.blocks.append(block)
            alive[allocation.address] = (block, around)
            for each in around:
                _hand_out(block, each.row)
        elif allocation.address in alive:  # else it is from before the window
            block, handed_out_in = alive.pop(allocation.address)
            block.is_kept = handed_out_in[0] not in around
            for each in handed_out_in:
                _take_back(block, each.row, is_workspace=each in around)


def _hand_out(block: FollowedBlock, row: Row) -> None:
    row.allocated_bytes += block.bytes
    row.live_bytes += block.bytes
    row.peak_bytes = max(row.peak_bytes, row.live_bytes)


def _take_back(block: FollowedBlock, row: Row, *, is_workspace: bool) -> None:
    row.live_bytes -= block.bytes
    if is_workspace:
        row.allocated_bytes -= block.bytes
        row.workspace_bytes += block.bytes


def blocks_of(executions: Iterable[Span], ops: Sequence[Op]) -> Blocks:
    """Every block that was handed out in ``executions``."""
    kept: list[Block] = []
    temporary_bytes: dict[str, int] = {}
    for span in executions:
        for block in span.blocks:
            operator = _purpose(ops, block.op)
            if block.is_kept:
                kept.append(Block(operator=operator, bytes=block.bytes))
            else:
                temporary_bytes[operator] = temporary_bytes.get(operator, 0) + block.bytes
    return Blocks(kept=tuple(kept), temporary_bytes=temporary_bytes)


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
    for position, op in enumerate(ops):
        if not op.allocations:
            continue
        span = assignment.of_ops[position]
        optimizer, from_ns = assignment.optimizers.get(position, (span, 0))
        for allocation in op.allocations:
            if allocation.device_type == memory_device:
                owner = optimizer if allocation.time_ns >= from_ns else span
                events.append((allocation, position, owner))
    # Stable: a block that is freed and handed out again within a tick keeps its order.
    events.sort(key=lambda event: event[0].time_ns)
    return events
