"""What the pages in ``docs/`` refer to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WRITTEN = {"config.yaml"}  # by a run
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8")):
        file, _, heading = target.partition("#")
        other = page.parent / file if file else page
        assert other.exists(), target
        assert not heading or heading in anchors(other), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_and_settings_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"(?<![\w.])((?:\w+/)*\w+\.(?:py|yaml))\b", page.read_text("utf-8")):
        folders = (ROOT, ROOT / "benchmarks", ROOT / "lightning_profile")
        assert any((folder / name).exists() for folder in folders) or name in WRITTEN, name
