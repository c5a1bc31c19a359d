"""A trace that a training wrote, as Perfetto sees it."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class Trace:
    """What one file says."""

    document: dict[str, Any]

    @property
    def events(self) -> list[Event]:
        events: list[Event] = self.document["traceEvents"]
        return events

    @property
    def names(self) -> list[str]:
        return [event["name"] for event in self.events]

    def named(self, name: str) -> list[Event]:
        """Spans of that name in the order of time."""
        found = [event for event in self.events if event["name"] == name and event["ph"] == "X"]
        return sorted(found, key=lambda event: event["ts"])

    def inside(self, span: Event) -> list[str]:
        """Names of the spans that lie within ``span`` on its thread."""
        return [
            event["name"]
            for event in self.events
            if event["ph"] == "X" and event["tid"] == span["tid"] and _within(event, span)
        ]


def _within(event: Event, span: Event) -> bool:
    end_us = span["ts"] + span["dur"]
    return bool(span["ts"] <= event["ts"] and event["ts"] + event["dur"] <= end_us)


def read_trace(path: Path) -> Trace:
    return Trace(json.loads(gzip.decompress(path.read_bytes())))


def trace_of(folder: Path, stage: str = "train") -> Trace:
    """The only one of ``stage`` below ``folder``."""
    (path,) = folder.rglob(f"trace_{stage}.json.gz")
    return read_trace(path)
