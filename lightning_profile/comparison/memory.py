"""What a phase allocated, to the byte: theory's tensors, rounding, and everything else by name.

Each tensor of theory is matched with a block of just the size that the allocator gives such a
tensor, and that outlived the phase. What finds no block is the residual: there, theory and fact
differ: a gradient may have been added to that of another branch and freed, a view may have taken
the place of a copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from lightning_profile.records import (
    AllocatedTensor,
    Block,
    Cost,
    Measurement,
    MemoryKind,
    MemoryPart,
    MemoryTable,
)

# CUDA's caching allocator (c10/core/AllocatorConfig.h, c10/cuda/CUDACachingAllocator.cpp): blocks
# are multiples of kMinBlockSize; one of the large pool, for more than kSmallSize, is handed out
# whole unless more than kSmallSize would be left of it.
_CUDA_MULTIPLE = 512
_CUDA_UNSPLIT = 2**20
# Settings that change the sizes of blocks: other multiples, other splits, another allocator.
_OTHER_SIZES = (
    "roundup_power2_divisions",
    "max_split_size",
    "cudaMallocAsync",
    "pluggable",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
)


def memory_table(
    cost: Cost | None, measured: Measurement | None, *, device_type: str, allocator_settings: str
) -> MemoryTable | None:
    """The table of one phase.

    Args:
        cost: Theory of the phase.
        measured: What was measured.
        device_type: Where the blocks lie, ``cpu`` or ``cuda``.
        allocator_settings: How CUDA's allocator is set: its name, and the environment's variables.

    Returns:
        ``None`` if theory does not name the tensors, if layers inside allocated too, or if it is
        not known how the allocator rounds.
    """
    if cost is None or cost.tensors is None or measured is None or measured.blocks is None:
        return None
    largest_excess = _largest_excess(device_type, allocator_settings)
    if largest_excess is None:
        return None
    kept = [block for block in measured.blocks if block.is_kept]
    matches = _match(cost.tensors, kept, device_type, largest_excess)
    others = Counter(kept) - Counter(block for block in matches if block is not None)
    parts = _theory(cost.tensors, matches) + _others(
        [*others.elements(), *(block for block in measured.blocks if not block.is_kept)]
    )
    total_bytes = sum(block.bytes for block in measured.blocks)
    return MemoryTable(
        parts=tuple(parts),
        measured_bytes=total_bytes,
        residual_bytes=total_bytes - sum(part.bytes for part in parts),
    )


def _theory(
    tensors: Sequence[AllocatedTensor], matches: Sequence[Block | None]
) -> list[MemoryPart]:
    """The tensors, and by how much their blocks are larger."""
    parts = [
        MemoryPart(
            name=tensor.name,
            operator=None if block is None else block.operator,
            bytes=tensor.bytes,
            kind="theory",
        )
        for tensor, block in zip(tensors, matches, strict=True)
    ]
    return parts + [
        MemoryPart(
            name=tensor.name,
            operator=block.operator,
            bytes=block.bytes - tensor.bytes,
            kind="rounding",
        )
        for tensor, block in zip(tensors, matches, strict=True)
        if block is not None and block.bytes > tensor.bytes
    ]


def _others(blocks: Iterable[Block]) -> list[MemoryPart]:
    """What theory has no tensor for, added up by operator, the largest first."""
    sizes: Counter[tuple[str, MemoryKind]] = Counter()
    for block in blocks:
        sizes[block.operator, "kept" if block.is_kept else "temporary"] += block.bytes
    return [
        MemoryPart(name="", operator=operator, bytes=size, kind=kind)
        for (operator, kind), size in sizes.most_common()
    ]


def _match(
    tensors: Sequence[AllocatedTensor],
    blocks: Iterable[Block],
    device_type: str,
    largest_excess: int,
) -> list[Block | None]:
    """For each tensor, the smallest block that it can lie in; the largest tensor chooses first."""
    multiple = _CUDA_MULTIPLE if device_type == "cuda" else 1
    left = sorted(blocks, key=lambda block: block.bytes)
    matches: list[Block | None] = [None] * len(tensors)
    for number, tensor in sorted(enumerate(tensors), key=lambda pair: -pair[1].bytes):
        size = -(-tensor.bytes // multiple) * multiple
        limit = size + (largest_excess if size > _CUDA_UNSPLIT else 0)
        match = next((block for block in left if size <= block.bytes <= limit), None)
        if match is not None:
            left.remove(match)
            matches[number] = match
    return matches


def _largest_excess(device_type: str, settings: str) -> int | None:
    """How much larger than its multiple a block can be; ``None`` if that is not known."""
    if device_type == "cpu":
        return 0
    if device_type != "cuda" or any(word in settings for word in _OTHER_SIZES):
        return None
    return _CUDA_UNSPLIT
