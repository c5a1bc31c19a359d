"""The decorator of records that a window makes by the hundred: dataclasses that nobody changes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:

    def record(*, frozen: bool, **options: Any) -> Any:
        """A dataclass that is frozen to type checkers, and a plain one when it runs.

        A window is read into thousands of records, and a frozen dataclass sets each field by a call
        of ``object.__setattr__``: that takes longer than all else about making one.
        """
        return dataclasses.dataclass(unsafe_hash=frozen, **options)


__all__ = ["record"]
