"""Texts and tables as Markdown, in the report and in TensorBoard."""

from __future__ import annotations

import re

from lightning_profile.study.tables import Table

_CODE = re.compile(r"(`[^`]*`)")
_MARKUP = re.compile(r"([\\`*\[\]>])")


def format_table(table: Table) -> str:
    """The table as GitHub and markdown-it have it, numbers to the right."""
    last = len(table.columns) - 1
    marks = [
        ":--" if number < table.words or (table.has_remarks and number == last) else "--:"
        for number in range(len(table.columns))
    ]
    lines = [list(table.columns), marks, *(list(map(_cell, row)) for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text that may hold what Markdown reads as markup; what stands in backquotes is code."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(
        part if number % 2 else _MARKUP.sub(r"\\\1", _with_entities(part))
        for number, part in enumerate(parts)
    )


def _with_entities(text: str) -> str:
    """Not every Markdown knows a backslash before ``<``."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _cell(text: str) -> str:
    return escaped(text).replace("|", "\\|")
