"""``layer_profile.json``: every step measured, the layers' geometry, versions and the device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from lightning_profile.records import (
    Call,
    Derivation,
    FootprintComparison,
    Layer,
    Measurement,
    TensorFact,
    WindowResult,
)
from lightning_profile.report.columns import rows
from lightning_profile.schedule import Schedule
from lightning_profile.version import __version__

_PACKAGES = ("torch", "pytorch-lightning", "lightning", "torchvision")
_FORMAT = 2
_Name = tuple[str, int]  # stage and global step, which name a window


class JsonFile:
    """One JSON document that is whole at every moment: each write replaces it atomically."""

    def __init__(self, path: Path, layers: Sequence[Layer], schedule: Schedule) -> None:
        self._path = path
        self._head = {
            "format": _FORMAT,
            "versions": _versions(),
            "schedule": asdict(schedule),
            "layers": [_layer(layer) for layer in layers],
        }
        self._windows: dict[_Name, str] | None = None  # each serialised once

    def write(self, result: WindowResult) -> None:
        """Add ``result`` to the document.

        Raises:
            OSError: If the file can't be written.
            ValueError: If there is a file of that name that is no JSON.
        """
        if self._windows is None:
            self._windows = _earlier_windows(self._path)
        name = (result.stage, result.global_step)
        self._windows.pop(name, None)  # of a training that was resumed from before it
        self._windows[name] = json.dumps(_window(result))
        head = json.dumps(
            self._head
            | {
                "device": asdict(result.device),
                "derivations": [_derivation(derivation) for derivation in result.derivations],
            },
            indent=1,
        )
        body = ",\n".join(self._windows.values())
        text = f'{head.rstrip().removesuffix("}").rstrip()},\n "windows": [\n{body}\n ]\n}}\n'
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".json.part")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(self._path)


def _earlier_windows(path: Path) -> dict[_Name, str]:
    """Windows of a run that is resumed in the same folder."""
    if not path.exists():
        return {}
    return {
        (window["stage"], window["global_step"]): json.dumps(window)
        for window in json.loads(path.read_text("utf-8"))["windows"]
    }


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
        "reading_time_ns": result.reading_time_ns,
        "compared_steps": list(result.steps),
        "rows": list(rows(result)),
        "steps": [
            _measurement(measurement, result.batch_sizes[measurement.step])
            for measurement in result.measurements
        ],
        "calls": [_call(call) for call in result.calls],
        "footprints": [_footprint(footprint) for footprint in result.footprints],
    }


def _measurement(measurement: Measurement, batch_size: int | None) -> dict[str, Any]:
    phase = measurement.phase.value if measurement.phase is not None else None
    # Positions of calls mean nothing outside of the window.
    values = asdict(measurement)
    del values["calls_inside"]
    return values | {"phase": phase, "batch_size": batch_size, "calls": len(measurement.calls)}


def _call(call: Call) -> dict[str, Any]:
    return {
        "layer": call.layer,
        "step": call.step,
        "index": call.index,
        "phase": call.phase.value,
        "inputs": [_tensor(tensor) for tensor in call.inputs],
        "outputs": [_tensor(tensor) for tensor in call.outputs],
        "options": dict(call.options),
        "is_training": call.is_training,
        "is_complete": call.is_complete,
    }


def _tensor(tensor: TensorFact) -> dict[str, Any]:
    return asdict(tensor) | {"dtype": str(tensor.dtype).removeprefix("torch.")}


def _footprint(footprint: FootprintComparison) -> dict[str, Any]:
    return {
        "layer": footprint.layer.display_name,
        "theoretical": asdict(footprint.theoretical),
        "measured": asdict(footprint.measured),
    }


def _derivation(derivation: Derivation) -> dict[str, Any]:
    costs = derivation.costs or {}
    return {
        "layer": derivation.layer.display_name,
        "costs": {phase.value: asdict(cost) for phase, cost in costs.items()},
        "footprint": [asdict(equation) for equation in derivation.footprint],
    }
