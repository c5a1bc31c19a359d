"""Recordings in files, so that all that comes after a recording is tested without its device.

A file is compressed JSON. Operators are stored by field, not one by one: that is a third as large.
The layers' modules are not stored: what a file's ``model`` names is built anew.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from lightning_profile.measurement import Recording
from lightning_profile.records import (
    Allocation,
    BackwardGraph,
    Call,
    Kernel,
    Op,
    ParameterFact,
    Phase,
    TensorFact,
)

FOLDER = Path(__file__).parent / "data"
_OP_FIELDS = [field.name for field in fields(Op)]


@dataclass(frozen=True)
class Recorded:
    """A recording, and what it is of.

    Attributes:
        model: A name in ``tests.data.models.MODELS``.
        precision: ``fp32``, ``tf32`` or ``bf16``.
        device_type: Where it was recorded, ``cpu`` or ``cuda``.
        device_name: The device.
        torch_version: Of the recording.
        allocator_settings: As measured there.
        recording: One training step.
    """

    model: str
    precision: str
    device_type: str
    device_name: str
    torch_version: str
    allocator_settings: str
    recording: Recording


def write(path: Path, recorded: Recorded) -> None:
    """Store ``recorded``; the same bytes for the same recording."""
    about = {field.name: getattr(recorded, field.name) for field in fields(Recorded)}
    recording = about.pop("recording")
    document = about | {
        "steps": recording.steps,
        "graphs": [list(graph.shared.items()) for graph in recording.graphs],
        "calls": [None if call is None else _plain(call) for call in recording.calls],
        "ops": {name: [_plain(getattr(op, name)) for op in recording.ops] for name in _OP_FIELDS},
    }
    text = json.dumps(document, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))


def read(path: Path) -> Recorded:
    """What :func:`write` stored."""
    document = json.loads(gzip.decompress(path.read_bytes()))
    columns = document.pop("ops")
    rows = zip(*(columns[name] for name in _OP_FIELDS), strict=True)
    recording = Recording(
        steps=tuple(document.pop("steps")),
        calls=tuple(None if call is None else _call(call) for call in document.pop("calls")),
        graphs=tuple(_graph(nodes) for nodes in document.pop("graphs")),
        ops=tuple(_op(dict(zip(_OP_FIELDS, values, strict=True))) for values in rows),
    )
    return Recorded(recording=recording, **document)


def _plain(value: Any) -> Any:
    """Records as mappings, or as lists of their values where there are many of them."""
    if isinstance(value, (Allocation, Kernel)):
        return [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, (Call, TensorFact)):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return value


def _call(values: dict[str, Any]) -> Call:
    tensors = {name: _facts(TensorFact, values[name]) for name in ("inputs", "outputs")}
    return Call(
        **values
        | tensors
        | {
            "parameters": _facts(ParameterFact, values["parameters"]),
            "options": tuple((name, value) for name, value in values["options"]),
            "phase": Phase(values["phase"]),
        }
    )


def _graph(nodes: Sequence[tuple[int, Sequence[int]]]) -> BackwardGraph:
    return BackwardGraph({node: tuple(tensors) for node, tensors in nodes})


def _facts(kind: type[TensorFact], facts: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(
        kind(**fact | {"shape": tuple(fact["shape"]), "dtype": getattr(torch, fact["dtype"])})
        for fact in facts
    )


def _op(values: dict[str, Any]) -> Op:
    launched, product = values["launched"], values["product"]
    return Op(
        **values
        | {
            "launched": None if launched is None else _records(Kernel, launched),
            "allocations": _records(Allocation, values["allocations"]),
            "product": None if product is None else tuple(product),
        }
    )


def _records(kind: type[Any], rows: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    names = [field.name for field in fields(kind)]
    return tuple(kind(**dict(zip(names, row, strict=True))) for row in rows)
