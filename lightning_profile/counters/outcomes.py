"""What the replay tells the process that started it.

What became of each part goes to a file of a JSON object per line; where a part begins is told in
the tool's table, by a marker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lightning_profile.records import Phase, UnavailableCause

PHASES = (Phase.FORWARD, Phase.BACKWARD)
FILE_NAME = "outcomes.jsonl"
MARKER = "spin_kernel"  # in the name of the kernel that ``torch.cuda._sleep`` launches


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One phase of one package.

    Attributes:
        package: The package's file name.
        phase: Forward or backward.
        is_marked: Whether a marker was launched, so that there is a part in the tool's table.
        cause: Why there is no result; ``None`` if the phase ran.
        error: What was raised, if so.
    """

    package: str
    phase: Phase
    is_marked: bool
    cause: UnavailableCause | None = None
    error: str = ""


def write_outcome(file: TextIO, outcome: Outcome) -> None:
    """Append a line, at once on the disk: the process may be ended at any time."""
    line = {
        "package": outcome.package,
        "phase": outcome.phase.value,
        "is_marked": outcome.is_marked,
        "cause": outcome.cause.value if outcome.cause is not None else None,
        "error": outcome.error,
    }
    print(json.dumps(line), file=file, flush=True)


def read_outcomes(folder: Path) -> Iterator[Outcome]:
    """What the replay in ``folder`` said, in its order; nothing if it never began."""
    path = folder / FILE_NAME
    if not path.exists():
        return
    for line in path.read_text("utf-8").splitlines():
        values = json.loads(line)
        cause = values["cause"]
        yield Outcome(
            package=values["package"],
            phase=Phase(values["phase"]),
            is_marked=values["is_marked"],
            cause=UnavailableCause(cause) if cause is not None else None,
            error=values["error"],
        )
