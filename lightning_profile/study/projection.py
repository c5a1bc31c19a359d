"""The least time that another device would allow: theory's FLOPs and traffic at a card's peaks.

Nothing is measured there, and no real layer reaches its roofline: a projection is a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch

from lightning_profile.comparison import Limits
from lightning_profile.devices import CARDS, Card, Product, arithmetic_kind, cuda_maths_mode
from lightning_profile.quoting import quoted
from lightning_profile.records import ArithmeticKind, Roofline
from lightning_profile.study.point import Point, Row
from lightning_profile.study.series import RowKey, rows_by_key

_AMPERE, _BEFORE = (8, 0), (7, 0)  # compute capabilities with and without TF32


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A row's roofline on a card that it did not run on.

    Attributes:
        row: Layer, qualified name and phase.
        card: The card.
        arithmetic: What its products would run in, with torch's switches as they are by default.
        times_ns: The least time per step, by batch size.
        knee: The smallest batch size from which on arithmetic, not traffic, is what takes the
            time; ``None`` if there is no such change among them.
    """

    row: RowKey
    card: Card
    arithmetic: str
    times_ns: Mapping[int, float]
    knee: int | None


def find_cards(names: Sequence[str]) -> list[Card]:
    """The cards with these names, upper or lower case: ``V100`` is every V100 of the table.

    Raises:
        ValueError: If there is none of a name; it lists the names.
    """
    cards: dict[str, Card] = {}
    for name in names:
        wanted = " ".join(str(name).split()).lower()
        found = [card for card in CARDS if card.name.lower() == wanted] or [
            card for card in CARDS if wanted and card.name.lower().startswith(f"{wanted} ")
        ]
        if not found:
            known = ", ".join(card.name for card in CARDS)
            raise ValueError(f"no device {quoted(name)} to project to; there are: {known}")
        cards |= {card.name: card for card in found}
    return list(cards.values())


def project(points: Sequence[Point], cards: Sequence[Card]) -> list[Projection]:
    """Every row that has theory, on every card; rows whose arithmetic can't be told are left out.

    Args:
        points: Of the study.
        cards: From :func:`find_cards`.
    """
    found = []
    for key, rows in rows_by_key(points).items():
        for card in cards:
            limits = _limits(card)
            arithmetic = _arithmetic(next(iter(rows.values())), limits)
            if arithmetic is None:
                continue
            rooflines = {size: _roofline(row, limits, arithmetic) for size, row in rows.items()}
            times = {
                size: each.time_ns for size, each in rooflines.items() if each.time_ns is not None
            }
            if times:
                bounds = {size: rooflines[size].bound for size in times}
                found.append(
                    Projection(
                        row=key,
                        card=card,
                        arithmetic=arithmetic,
                        times_ns=times,
                        knee=find_knee(bounds),
                    )
                )
    return found


def merged(projections: Sequence[Projection]) -> list[tuple[str, Projection]]:
    """Projections with the names of the cards they are of: some differ in memory only."""
    names: dict[tuple[object, ...], list[str]] = {}
    firsts: dict[tuple[object, ...], Projection] = {}
    for each in projections:
        key = (each.row, each.arithmetic, *each.times_ns.items())
        names.setdefault(key, []).append(each.card.name)
        firsts.setdefault(key, each)
    return [(" or ".join(names[key]), each) for key, each in firsts.items()]


def find_knee(bounds: Mapping[int, str | None]) -> int | None:
    """The batch size from which on ``compute`` is the bound, after ``memory`` below it.

    Args:
        bounds: By batch size, ascending.
    """
    sizes = list(bounds)
    for before, size in pairwise(sizes):
        rest = [bounds[each] for each in sizes if each >= size]
        if bounds[before] == "memory" and set(rest) == {"compute"}:
            return size
    return None


def _limits(card: Card) -> Limits:
    mode = cuda_maths_mode(
        matmul="none",
        convolution="tf32",  # torch's defaults
        recurrent="tf32",
        compute_capability=_AMPERE if card.tf32 is not None else _BEFORE,
        has_cudnn=True,
        fp16_accumulation=False,
    )
    return Limits(card.ceilings, lambda dtype, product: arithmetic_kind(dtype, product, mode))


def _arithmetic(row: Row, limits: Limits) -> ArithmeticKind | None:
    if row.product is None or row.dtype is None:
        return None
    kind = limits.arithmetic_of(cast("Product", row.product), row.groups, getattr(torch, row.dtype))
    return None if kind is None or limits.ceilings.flop_per_s.get(kind) is None else kind


def _roofline(row: Row, limits: Limits, arithmetic: ArithmeticKind) -> Roofline:
    values = row.values
    flop = cast("int | None", values.get("theoretical_flop"))
    reads, writes = values.get("theoretical_read_bytes"), values.get("theoretical_write_bytes")
    traffic_bytes = None if reads is None or writes is None else int(reads + writes)
    return limits.roofline_in(arithmetic, flop, traffic_bytes)
