"""Measured ceilings, kept in the process and in the user's cache folder.

A cache that can't be read or written costs a new measurement, never an error. A file is replaced as
a whole, so that processes that measure at the same time can't mix theirs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lightning_profile.devices.ceilings import measure_ceilings
from lightning_profile.devices.describe import describe_device
from lightning_profile.records import ARITHMETIC_KINDS, Ceilings

_FORMAT = 1
_Key = dict[str, str | int | None]
_in_process: dict[str, Ceilings] = {}


def measured_ceilings(device: torch.device) -> Ceilings:
    """The measured ceilings of ``device``: from an earlier measurement if there is one.

    It is measured again when the device, the driver, torch or the number of CPU threads changes. On
    what may happen while it measures, see :func:`~lightning_profile.devices.measure_ceilings`.
    """
    key = _key(device)
    name = _name(key)
    if name not in _in_process:
        path = _path(name)
        ceilings = _read(path, key)
        if ceilings is None:
            ceilings = measure_ceilings(device)
            if ceilings.bytes_per_s is not None:  # a device without memory may have some later
                _write(path, key, ceilings)
        _in_process[name] = ceilings
    return _in_process[name]


def forget_ceilings(device: torch.device) -> None:
    """Let the next training measure ``device`` anew: a ceiling was exceeded, so it was none."""
    name = _name(_key(device))
    _in_process.pop(name, None)
    path = _path(name)
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _name(key: _Key) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]


def _key(device: torch.device) -> _Key:
    description = describe_device(device)
    key: _Key = {
        "format": _FORMAT,
        "device": description.name,
        "torch": torch.__version__,
        "threads": description.threads,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return key | {
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "driver": _driver_version(),
        }
    # A virtual machine's processor may have a name that says little.
    return key | {"cpus": os.cpu_count(), "cpu": torch.backends.cpu.get_cpu_capability()}


def _driver_version() -> str | None:
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="utf-8").strip()
    except OSError:  # not Linux
        return None


def _path(name: str) -> Path | None:
    folder = os.environ.get("XDG_CACHE_HOME", "")
    if not Path(folder).is_absolute():  # as the XDG Base Directory Specification has it
        try:
            home = Path.home()
        except RuntimeError:
            return None
        local = {"win32": "AppData/Local", "darwin": "Library/Caches"}.get(sys.platform, ".cache")
        folder = str(home / local)
    return Path(folder) / "lightning_profile" / f"ceilings-{name}.json"


def _read(path: Path | None, key: _Key) -> Ceilings | None:
    if path is None:
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["key"] != key:
            return None
        stored = document["ceilings"]
        return Ceilings(
            flop_per_s={kind: _rate(stored["flop_per_s"][kind]) for kind in ARITHMETIC_KINDS},
            bytes_per_s=_rate(stored["bytes_per_s"]),
            source=str(stored["source"]),
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # whatever is in the file
        return None


def _rate(value: Any) -> float | None:
    if value is None:
        return None
    rate = float(value)
    if not math.isfinite(rate) or rate <= 0:
        raise ValueError(f"{value} is no rate")
    return rate


def _write(path: Path | None, key: _Key, ceilings: Ceilings) -> None:
    if path is None:
        return
    text = json.dumps({"key": key, "ceilings": asdict(ceilings)}, indent=1)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False
        ) as unfinished:
            try:
                unfinished.write(text)
                unfinished.close()
                Path(unfinished.name).replace(path)
            except OSError:
                Path(unfinished.name).unlink(missing_ok=True)
