"""``layer_profile.jsonl``: every step measured, the layers' geometry, versions and the device.

One JSON document per line: the run first, then a line per window. A line is appended in one write,
so that a window costs the same in the hundredth epoch as in the first, and a crash can't harm
earlier ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import dtype

from lightning_profile.records import (
    Call,
    Comparison,
    Derivation,
    FootprintComparison,
    Layer,
    Measurement,
    WindowResult,
)
from lightning_profile.report import whole_lines
from lightning_profile.report.columns import row_key, rows
from lightning_profile.report.run_folder import RunFolder
from lightning_profile.schedule import Schedule
from lightning_profile.version import __version__

JSON_NAME = "layer_profile.jsonl"
_PACKAGES = ("torch", "pytorch-lightning", "lightning", "torchvision")
_FORMAT = 2
_Name = tuple[str, int]  # stage and global step, which name a window


class JsonLinesFile:
    """Appends a line per window, after one that describes the run."""

    def __init__(
        self,
        folder: RunFolder,
        layers: Sequence[Layer],
        schedule: Schedule,
        *,
        is_resumed: bool = False,
    ) -> None:
        self._folder = folder
        self._is_resumed = is_resumed
        self._run = {
            "format": _FORMAT,
            "versions": _versions(),
            "schedule": asdict(schedule),
            "layers": [_layer(layer) for layer in layers],
        }
        self._earlier: set[_Name] | None = None  # windows of a run that is resumed here
        self._derivations: list[dict[str, Any]] = []  # of the last line

    def write(self, result: WindowResult) -> None:
        """Append ``result``.

        Where a resumed training repeats a window, the new line replaces the earlier one.

        Raises:
            OSError: If the file can't be written.
        """
        path = self._folder.claim() / JSON_NAME
        if self._earlier is None:
            earlier = _mend(path)
            self._earlier = earlier if self._is_resumed else set()
        name = (result.stage, result.global_step)
        if name in self._earlier:
            whole_lines.replace(path, _text(line for line in _lines(path) if _name(line) != name))
            self._earlier.discard(name)
        is_new = not whole_lines.has_content(path)
        derivations = [_derivation(derivation) for derivation in result.derivations]
        window = _window(result)
        if is_new or derivations != self._derivations:  # else they are as in an earlier line
            window["derivations"] = derivations
        lines = [_line(self._run)] if is_new else []
        whole_lines.append(path, _text([*lines, _line(window)]))
        self._derivations = derivations


def _line(document: dict[str, Any]) -> str:
    # Without spaces, which were a twelfth of it.
    return json.dumps(document, default=_as_json, separators=(",", ":"))


def _mend(path: Path) -> set[_Name]:
    """Windows that are there; a last line that a crash has torn is dropped."""
    lines = _lines(path)
    if lines and not _is_whole(lines[-1]):
        lines = lines[:-1]
        whole_lines.replace(path, _text(lines))
    return {name for line in lines if (name := _name(line)) is not None}


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if whole_lines.has_content(path) else []


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _name(line: str) -> _Name | None:
    """Which window a line is of; ``None`` for the run's."""
    window = json.loads(line)
    return (window["stage"], window["global_step"]) if "stage" in window else None


def _versions() -> dict[str, str]:
    versions = {"lightning-profile": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "layer": layer.display_name,
        "qualified_name": layer.qualified_name,
        "layer_type": layer.type_name,
        "geometry": repr(layer.module),
    }


def _window(result: WindowResult) -> dict[str, Any]:
    return {
        "stage": result.stage,
        "epoch": result.epoch,
        "global_step": result.global_step,
        "batch_size": result.batch_size,
        "dataset": result.dataset,
        "device": result.device,
        "ceilings": result.ceilings,
        "empirical_ceilings": result.empirical_ceilings,
        "hardware": [
            {**_row_name(each), "count": each.hardware}
            for each in result.comparisons
            if each.hardware is not None
        ],
        "reading_time_ns": result.reading_time_ns,
        "compared_steps": list(result.steps),
        "step_peak_bytes": dict(result.step_peak_bytes),
        "rows": list(rows(result)),
        "memory": [
            {**_row_name(each), "table": each.memory}
            for each in result.comparisons
            if each.memory is not None
        ],
        "steps": [
            _measurement(measurement, result.batch_sizes[measurement.step])
            for measurement in result.measurements
        ],
        "calls": [_call(call) for call in result.calls],
        "footprints": [_footprint(footprint) for footprint in result.footprints],
    }


def _row_name(comparison: Comparison) -> dict[str, str]:
    layer, phase = row_key(comparison)
    return {"layer": layer, "phase": phase}


def _measurement(measurement: Measurement, batch_size: int | None) -> dict[str, Any]:
    phase = measurement.phase.value if measurement.phase is not None else None
    # Positions of calls mean nothing outside of the window.
    values: dict[str, Any] = _as_json(measurement)
    del values["calls_inside"]
    del values["blocks"]  # in the table of memory, by what they are for
    del values["operator_sums"]
    return values | {
        "phase": phase,
        "batch_size": batch_size,
        "calls": len(measurement.calls),
        "operators": measurement.operators,
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "layer": call.layer,
        "step": call.step,
        "index": call.index,
        "phase": call.phase.value,
        "inputs": call.inputs,
        "outputs": call.outputs,
        "options": dict(call.options),
        "is_training": call.is_training,
        "is_complete": call.is_complete,
    }


def _footprint(footprint: FootprintComparison) -> dict[str, Any]:
    return {
        "layer": footprint.layer.display_name,
        "theoretical": footprint.theoretical,
        "measured": footprint.measured,
    }


def _derivation(derivation: Derivation) -> dict[str, Any]:
    costs = derivation.costs or {}
    return {
        "layer": derivation.layer.display_name,
        "costs": {phase.value: cost for phase, cost in costs.items()},
        "footprint": derivation.footprint,
    }


def _as_json(value: Any) -> Any:
    """What the encoder asks for: a record's fields, uncopied (``asdict`` takes ten times as long).

    Records inside of it, the encoder asks for in turn.
    """
    if isinstance(value, dtype):
        return str(value).removeprefix("torch.")
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
