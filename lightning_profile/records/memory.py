"""Blocks of memory that a phase was given, and what each of them is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from lightning_profile.records.record import record

MemoryKind = Literal["theory", "rounding", "kept", "temporary"]


@record(frozen=True, slots=True, kw_only=True)
class Block:
    """A block that an allocator handed out in a phase, and that outlived it.

    Attributes:
        operator: The operator that it was for; empty outside of every operator.
        bytes: Its size, rounding included.
    """

    operator: str
    bytes: int


@record(frozen=True, slots=True, kw_only=True)
class Blocks:
    """All that an allocator handed out in a phase.

    Attributes:
        kept: What outlived the phase, block by block.
        temporary_bytes: What was freed before its end, by the operator that it was for.
    """

    kept: tuple[Block, ...] = ()
    temporary_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all of them, rounding included."""
        return sum([block.bytes for block in self.kept]) + sum(self.temporary_bytes.values())


@record(frozen=True, slots=True, kw_only=True)
class MemoryPart:
    """A part of what a phase allocated.

    Attributes:
        name: The tensor of theory that it is or rounds up, such as ``gradient of weight``; empty
            for a part that theory has no tensor for.
        operator: The operator that it was for; ``None`` for a tensor of theory that no block was
            found for.
        bytes: A tensor's elements; of ``kept`` and ``temporary`` parts whole blocks.
        kind: ``theory`` for a tensor's elements, ``rounding`` for what its block has more,
            ``kept`` for what else outlived the phase, ``temporary`` for what did not.
    """

    name: str
    operator: str | None
    bytes: int
    kind: MemoryKind


@record(frozen=True, slots=True, kw_only=True)
class MemoryTable:
    """All that a phase allocated, to the byte.

    Attributes:
        parts: Theory's tensors with their rounding, then all else by operator.
        measured_bytes: All blocks that were handed out in the phase.
        residual_bytes: These less the parts: 0 if every tensor of theory was found, else less
            than 0 by those that were not.
    """

    parts: tuple[MemoryPart, ...]
    measured_bytes: int
    residual_bytes: int

    def sum_of(self, kind: MemoryKind) -> int:
        """Bytes of all parts of a kind."""
        return sum(part.bytes for part in self.parts if part.kind == kind)
