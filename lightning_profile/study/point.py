"""One batch size of a study: what its training cost, or why it has no cost. Kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lightning_profile.records import Ceilings
from lightning_profile.report import whole_lines

STEP_NAME = "training-step"  # the row of the whole step, beside those of layers
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A layer's phase, or the whole step, in one point.

    Attributes:
        layer: How the row's layer is called, such as ``Conv2d-2``.
        qualified_name: Its path in the model; empty for what is no layer.
        layer_type: Its class; ``None`` for what is no layer.
        geometry: As torch shows the layer; empty for what is no layer.
        phase: ``forward``, ``recompute`` or ``backward``; empty for what is no layer.
        dtype: Element type of its output; ``None`` if unknown.
        product: How its products are computed, for the arithmetic of other devices; ``None`` for
            a container and what is no layer.
        groups: Of a convolution, else 1.
        bound: What limits its time: ``compute``, ``memory`` or ``launch``; ``None`` if unknown.
        note: Why something is unknown.
        values: By the columns of ``layer_profile.csv``; the unknown is left out.
        ranges: Of times, the least and the greatest over the recorded steps.
        algorithms: Names of the kernels that tell how its products are computed, the longest
            first, or of its operators where no kernels were recorded.
        temporary_bytes: What was allocated and freed again, by the operator that it was for.
    """

    layer: str
    qualified_name: str = ""
    layer_type: str | None = None
    geometry: str = ""
    phase: str = ""
    dtype: str | None = None
    product: str | None = None
    groups: int = 1
    bound: str | None = None
    note: str = ""
    values: Mapping[str, int | float] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    algorithms: tuple[str, ...] = ()
    temporary_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a point was measured.

    Attributes:
        device: Its name.
        device_type: ``cpu``, ``cuda`` or another of torch's.
        threads: CPU threads that operators may use.
        capacity_bytes: What this training could have had of the device's memory as it began, its
            own share included; ``None`` if unknown.
        ceilings: What the device can do at best; ``None`` if unknown.
        empirical_ceilings: What it reaches, where that was asked for beside the vendor's figures.
        versions: Of the packages that matter.
    """

    device: str
    device_type: str
    threads: int
    capacity_bytes: int | None = None
    ceilings: Ceilings | None = None
    empirical_ceilings: Ceilings | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One batch size.

    Attributes:
        batch_size: Samples per training step.
        status: ``finished``, ``out of memory``, or ``failed`` for another reason.
        message: Why it did not finish, or has no wall time.
        requested_bytes: What could not be allocated; as CUDA's message has it, rounded to a
            hundredth of its unit. ``None`` if it finished or the message has no number.
        is_trial: Whether it was run to see if it fits, and not to be measured.
        machine: Where it ran; ``None`` if it did not finish.
        dataset: Name of the data.
        run_folder: Where the run's own files are.
        duration_s: Seconds from the start of the training to its end.
        rows: The whole step first, then as in ``layer_profile.csv``.
    """

    batch_size: int
    status: Literal["finished", "out of memory", "failed"]
    message: str = ""
    requested_bytes: int | None = None
    is_trial: bool = False
    machine: Machine | None = None
    dataset: str | None = None
    run_folder: str | None = None
    duration_s: float | None = None
    rows: tuple[Row, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether its numbers can stand beside those of other points."""
        return self.status == "finished" and not self.is_trial


def write_point(path: Path, point: Point) -> None:
    """Write ``point``, at one moment: whatever ends the process, the file is whole or not there.

    Raises:
        OSError: If it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_lines.replace(path, json.dumps({"format": _FORMAT} | asdict(point), indent=1) + "\n")


def read_point(path: Path) -> Point | None:
    """The point in ``path``; ``None`` if there is none, or none of this format."""
    try:
        document = json.loads(path.read_text("utf-8"))
        if document.pop("format") != _FORMAT:
            return None
        machine = document.pop("machine")
        rows = document.pop("rows")
        point = Point(**document)
        return replace(
            point,
            machine=None if machine is None else _machine(machine),
            rows=tuple(_row(row) for row in rows),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _machine(document: dict[str, Any]) -> Machine:
    for name in ("ceilings", "empirical_ceilings"):
        ceilings = document[name]
        document[name] = None if ceilings is None else Ceilings(**ceilings)
    return Machine(**document)


def _row(document: dict[str, Any]) -> Row:
    ranges = {name: (low, high) for name, (low, high) in document.pop("ranges").items()}
    algorithms = tuple(document.pop("algorithms"))
    return Row(**document, ranges=ranges, algorithms=algorithms)
