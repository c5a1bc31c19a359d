"""A point's rows from the files of its run, by the names that columns have there."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_profile.records import Ceilings
from lightning_profile.study.point import Machine, Row

JSON_NAME = "layer_profile.jsonl"
_TIMES = "_time_ns"
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
    ceilings = window.get("ceilings")
    return Machine(
        device=window["device"]["name"],
        device_type=window["device"]["type"],
        threads=window["device"]["threads"],
        capacity_bytes=capacity,
        ceilings=None if ceilings is None else Ceilings(**ceilings),
        versions=run["versions"],
    )


def rows(window: Mapping[str, Any], products: Mapping[str, tuple[str, int]]) -> list[Row]:
    """The window's rows.

    Args:
        window: From :func:`read_window`.
        products: By qualified name, how a layer's products are computed, and in how many groups.
    """
    steps: defaultdict[_Key, list[Mapping[str, Any]]] = defaultdict(list)
    compared = set(window["compared_steps"])
    for step in window["steps"]:
        if step["step"] in compared:
            steps[step["layer"], step["phase"], step["is_optimizer"]].append(step)
    return [_row(each, steps, products) for each in window["rows"] if each["rank"] == "0"]


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
    """Kernels if they were recorded, otherwise torch's operators, in the last step."""
    if not steps:
        return ()
    kernels = (steps[-1].get("on_device") or {}).get("kernels") or ()
    operators = [each["name"] for each in steps[-1]["operators"]]
    names = [each["name"] for each in kernels] or [
        name for name in operators if name.startswith("aten::")
    ]
    return tuple(sorted(set(names)))
