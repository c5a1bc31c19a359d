"""docs/devices.md shows the table that the code has."""

from __future__ import annotations

from pathlib import Path

from lightning_profile.devices.card import Card
from lightning_profile.devices.peaks import CARDS
from lightning_profile.records import ARITHMETIC_KINDS

PAGE = Path(__file__).parent.parent.parent / "docs" / "devices.md"


def section(name: str) -> list[str]:
    """The lines of the page between the two marks of ``name``."""
    _, _, rest = PAGE.read_text("utf-8").partition(f"<!-- {name} -->\n")
    inside, mark, _ = rest.partition(f"\n<!-- /{name} -->")
    assert mark, f"docs/devices.md has no section {name}"
    return inside.strip().splitlines()


def row(card: Card) -> str:
    rates = card.ceilings.flop_per_s
    cells = [card.name, f"`{card.reported_name}`"]
    for kind in ARITHMETIC_KINDS:
        rate = rates[kind]
        cells.append("" if rate is None else f"{rate / 1e12:g}")
    if card.fp64_unit == "tensor cores":
        cells[2] += " ᵗ"
    cells += [f"{card.gb_per_s:g}", f"{card.memory_gib}", f"{card.multiprocessors}"]
    return f"| {' | '.join(cells)} |"


def test_the_table_is_the_codes() -> None:
    head = ["card", "name in torch", *ARITHMETIC_KINDS, "GB/s", "GB", "SMs"]
    assert section("cards") == [
        f"| {' | '.join(head)} |",
        "|---|---|" + "---:|" * (len(head) - 2),
        *(row(card) for card in CARDS),
    ]


def test_the_sources_are_the_codes() -> None:
    cards: dict[str, list[str]] = {}
    for card in CARDS:
        cards.setdefault(card.source, []).append(card.name)
    expected = [f"- {', '.join(names)}: {source}" for source, names in cards.items()]
    assert section("sources") == expected
