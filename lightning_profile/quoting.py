"""How a value that makes no sense is shown in the message that says so."""

from __future__ import annotations

import reprlib


def quoted(value: object) -> str:
    """``value`` on one line of at most some 120 characters; it can be anything."""
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = shortener.maxlong = 120
    try:
        return " ".join(shortener.repr(value).split())
    except Exception:  # an object that can't show itself, or a number too long for Python
        return f"an object of type {type(value).__name__}"
