"""A point's rows from the files of its run, by the names that columns have there."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_profile.records import Ceilings
from lightning_profile.study.point import Machine, Row

JSON_NAME = "layer_profile.jsonl"
_TIMES = "_time_ns"
# Kernels of these kinds are around the products: how those are computed, they don't tell.
_NO_ALGORITHM = ("elementwise or bias", "memset or copy", "communication")
_WORDS = {  # columns that hold no quantity
    "epoch",
    "global_step",
    "batch_size",
    "calls",
    "steps",
}
_Key = tuple[str | None, str | None, bool]  # qualified name, phase, whether it is the optimizer


def read_window(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run's line and that of its last window in training.

    Raises:
        ValueError: If there is no window.
    """
    path = folder / JSON_NAME
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    windows = [window for window in map(json.loads, lines[1:]) if window["stage"] == "train"]
    if not windows:
        raise ValueError(f"no window was recorded in {folder}")
    return json.loads(lines[0]), windows[-1]


def machine(run: Mapping[str, Any], window: Mapping[str, Any], capacity: int | None) -> Machine:
    """Where the window was recorded."""
    ceilings, empirical = window["ceilings"], window["empirical_ceilings"]
    return Machine(
        device=window["device"]["name"],
        device_type=window["device"]["type"],
        threads=window["device"]["threads"],
        capacity_bytes=capacity,
        ceilings=None if ceilings is None else Ceilings(**ceilings),
        empirical_ceilings=None if empirical is None else Ceilings(**empirical),
        versions=run["versions"],
    )


def peaks_of_step(window: Mapping[str, Any]) -> dict[str, int]:
    """What the tensors of one of the window's steps held at one moment, by the column's name."""
    known = [window["step_peak_bytes"].get(str(step)) for step in window["compared_steps"]]
    peaks = [peak for peak in known if peak is not None]
    return {"peak_tensor_bytes": max(peaks)} if peaks else {}


def rows(
    run: Mapping[str, Any], window: Mapping[str, Any], products: Mapping[str, tuple[str, int]]
) -> list[Row]:
    """The window's rows.

    Args:
        run: From :func:`read_window`.
        window: Likewise.
        products: By qualified name, how a layer's products are computed, and in how many groups.
    """
    steps: defaultdict[_Key, list[Mapping[str, Any]]] = defaultdict(list)
    compared = set(window["compared_steps"])
    for step in window["steps"]:
        if step["step"] in compared:
            steps[step["layer"], step["phase"], step["is_optimizer"]].append(step)
    geometries = {layer["qualified_name"]: layer["geometry"] for layer in run["layers"]}
    temporaries = {
        (each["layer"], each["phase"]): _temporaries(each["table"]) for each in window["memory"]
    }
    return [
        replace(
            _row(each, steps, products),
            geometry=geometries.get(each["qualified_name"], ""),
            temporary_bytes=temporaries.get((each["qualified_name"], each["phase"]), {}),
        )
        for each in window["rows"]
        if each["rank"] == "0"
    ]


def _temporaries(table: Mapping[str, Any]) -> dict[str, int]:
    return {
        part["operator"]: part["bytes"] for part in table["parts"] if part["kind"] == "temporary"
    }


def _row(
    row: Mapping[str, Any],
    steps: Mapping[_Key, list[Mapping[str, Any]]],
    products: Mapping[str, tuple[str, int]],
) -> Row:
    name, phase = row["qualified_name"], row["phase"]
    is_layer = row["layer_type"] is not None
    own = steps.get(
        (name, phase, False) if is_layer else (None, None, row["layer"] == "optimizer"), []
    )
    product, groups = products.get(name, (None, 1)) if is_layer else (None, 1)
    return Row(
        layer=row["layer"],
        qualified_name=name,
        layer_type=row["layer_type"],
        phase=phase,
        dtype=row["dtype"],
        product=product,
        groups=groups,
        bound=row.get("bound"),
        note=row["note"],
        values={
            column: value
            for column, value in row.items()
            if isinstance(value, (int, float)) and column not in _WORDS
        },
        ranges=_ranges(own),
        algorithms=_algorithms(own),
    )


def _ranges(steps: list[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    names = [name for name in (steps[0] if steps else ()) if name.endswith(_TIMES)]
    found = {name: [step[name] for step in steps if step[name] is not None] for name in names}
    return {name: (min(each), max(each)) for name, each in found.items() if each}


def _algorithms(steps: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """The last step's kernels, the longest first, or torch's operators where none were recorded."""
    if not steps:
        return ()
    on_device = steps[-1]["on_device"]
    if on_device is not None:
        kernels = on_device["kernels"]
        return tuple(each["name"] for each in kernels if each["kind"] not in _NO_ALGORITHM)
    operators = (each["name"] for each in steps[-1]["operators"])
    return tuple(name for name in operators if name.startswith("aten::"))
