"""What a phase allocated, to the byte: theory's tensors, rounding, and everything else by name.

Each tensor of theory is matched with a block of just the size that the allocator gives such a
tensor, and that outlived the phase. What finds no block is the residual: there, theory and fact
differ: a gradient may have been added to that of another branch and freed, a view may have taken
the place of a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from lightning_profile.records import (
    AllocatedTensor,
    Block,
    Cost,
    Measurement,
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
_BYTES = attrgetter("bytes")


class Rounding(NamedTuple):
    """How an allocator makes a block of a tensor.

    Attributes:
        multiple: Blocks are multiples of so many bytes.
        largest_excess: How much larger than that a block of the large pool can be, in bytes.
    """

    multiple: int
    largest_excess: int


def rounding_of(device_type: str, allocator_settings: str) -> Rounding | None:
    """How blocks on a device are rounded; ``None`` if that is not known.

    Args:
        device_type: Where the blocks lie, ``cpu`` or ``cuda``.
        allocator_settings: How CUDA's allocator is set: its name, and the environment's variables.
    """
    if device_type == "cpu":
        return Rounding(multiple=1, largest_excess=0)
    if device_type != "cuda" or any(word in allocator_settings for word in _OTHER_SIZES):
        return None
    return Rounding(multiple=_CUDA_MULTIPLE, largest_excess=_CUDA_UNSPLIT)


def memory_table(
    cost: Cost | None, measured: Measurement | None, rounding: Rounding | None
) -> MemoryTable | None:
    """The table of one phase.

    Args:
        cost: Theory of the phase.
        measured: What was measured.
        rounding: How its blocks are rounded.

    Returns:
        ``None`` if theory does not name the tensors, if layers inside allocated too, or if it is
        not known how the allocator rounds.
    """
    if cost is None or cost.tensors is None or measured is None or measured.blocks is None:
        return None
    if rounding is None:
        return None
    blocks = measured.blocks
    matches, others = _match(cost.tensors, blocks.kept, rounding)
    parts = (*_theory(cost.tensors, matches), *_others(others, blocks.temporary_bytes))
    total_bytes = blocks.bytes
    return MemoryTable(
        parts=parts,
        measured_bytes=total_bytes,
        residual_bytes=total_bytes - sum([part.bytes for part in parts]),
    )


def _match(
    tensors: Sequence[AllocatedTensor], blocks: Iterable[Block], rounding: Rounding
) -> tuple[list[Block | None], list[Block]]:
    """For each tensor the smallest block that it can lie in, and the blocks that are left.

    The largest tensor chooses first.
    """
    left = sorted(blocks, key=_BYTES)
    matches: list[Block | None] = [None] * len(tensors)
    sizes = [tensor.bytes for tensor in tensors]
    for number in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        size = -(-sizes[number] // rounding.multiple) * rounding.multiple
        limit = size + (rounding.largest_excess if size > _CUDA_UNSPLIT else 0)
        for position, block in enumerate(left):
            if size <= block.bytes <= limit:
                matches[number] = left.pop(position)
                break
    return matches, left


def _theory(
    tensors: Sequence[AllocatedTensor], matches: Sequence[Block | None]
) -> list[MemoryPart]:
    """The tensors, and by how much their blocks are larger."""
    parts: list[MemoryPart] = []
    excess: list[MemoryPart] = []
    for tensor, block in zip(tensors, matches, strict=True):
        operator = None if block is None else block.operator
        parts.append(
            MemoryPart(name=tensor.name, operator=operator, bytes=tensor.bytes, kind="theory")
        )
        if block is not None and block.bytes > tensor.bytes:
            more = block.bytes - tensor.bytes
            excess.append(
                MemoryPart(name=tensor.name, operator=operator, bytes=more, kind="rounding")
            )
    return parts + excess


def _others(kept: Iterable[Block], temporary_bytes: Mapping[str, int]) -> list[MemoryPart]:
    """What theory has no tensor for, added up by operator, the largest first."""
    kept_bytes: dict[str, int] = {}
    for block in kept:
        kept_bytes[block.operator] = kept_bytes.get(block.operator, 0) + block.bytes
    parts = [
        MemoryPart(name="", operator=operator, bytes=size, kind="kept")
        for operator, size in kept_bytes.items()
    ]
    parts += [
        MemoryPart(name="", operator=operator, bytes=size, kind="temporary")
        for operator, size in temporary_bytes.items()
    ]
    parts.sort(key=_BYTES, reverse=True)
    return parts
