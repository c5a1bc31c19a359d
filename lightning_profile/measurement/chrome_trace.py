"""A window's trace as Chrome and Perfetto read it, with our marks named after what they mark."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from lightning_profile.measurement.calls import CALL_MARK
from lightning_profile.measurement.marks import STEP_BEGINS, STEP_ENDS, STEP_MARK
from lightning_profile.records import Call

_CALL = re.compile(rf'"name": "{re.escape(CALL_MARK)}(\d+)"')
_STEP = re.compile(rf'"name": "{re.escape(STEP_MARK)}(\d+)({STEP_BEGINS}|{STEP_ENDS})"')
# The engine's call of a node; what is said of it has no braces inside.
_NODE = re.compile(
    r'"name": "autograd::engine::evaluate_function: ([^"]+)"'
    r'([^{}]*"args": {[^{}]*"Sequence number": (\d+), "Fwd thread id": (\d+))'
)
_EVENTS = '"traceEvents": ['
_PATH = '"traceName": "'  # the last entry: where kineto wrote it
# A range of record_function, or under a user's mode an operator; not its picture on a device.
_RANGE, _OPERATOR = "user_annotation", "cpu_op"
_RAISED = "a forward that raised"
_FILE = "trace.json"


@dataclass(frozen=True)
class ChromeTrace:
    """What torch.profiler recorded in a window, to be written as a file once.

    The text is changed, not parsed: for the 2.4 MB of a step of ResNet-50 that takes milliseconds
    instead of hundreds of them, and what is not ours stays as kineto wrote it.

    Attributes:
        results: ``torch.profiler``'s ``kineto_results``; they may have been read before.
        calls: The window's, in the order of their marks.
        step_name: What a step is called, such as ``training step``.
        layers_of_nodes: Whose backward autograd's nodes are, by forward thread and number.
    """

    results: Any
    calls: Sequence[Call | None]
    step_name: str
    layers_of_nodes: Mapping[tuple[int | None, int | None], str] = field(default_factory=dict)

    def text(self) -> str:
        """The trace as JSON: layers by name, and each step as a span around what ran in it.

        Kineto writes only once, so that this can be called only once, too.

        Raises:
            OSError: If kineto could not write all of it.
        """
        written = self._written()
        named = _STEP.sub(self._step_mark, _CALL.sub(self._call_mark, written))
        named = _NODE.sub(self._node, named)
        return named.replace(_EVENTS, _EVENTS + "".join(self._spans(written)), 1)

    def _written(self) -> str:
        """What kineto writes, without the path that it wrote to.

        It writes nothing but files, to names of its own beside the one that it is given, and says
        of what goes wrong nothing that Python could see; so they are in a folder of their own.
        """
        with tempfile.TemporaryDirectory(prefix="lightning_profile-") as folder:
            path = Path(folder, _FILE)
            self.results.save(str(path))
            text = path.read_text("utf-8", errors="replace") if path.exists() else ""
        whole, path_mark, _ = text.rpartition(_PATH)
        if not path_mark:
            raise OSError(
                f"torch.profiler could not write its trace below {tempfile.gettempdir()}: "
                "is there room?"
            )
        return f'{whole}{_PATH}{_FILE}"}}\n'

    def _call_mark(self, mark: re.Match[str]) -> str:
        call = self.calls[int(mark[1])]
        return _name(_RAISED if call is None else f"{call.layer} {call.phase.value}")

    def _node(self, event: re.Match[str]) -> str:
        layer = self.layers_of_nodes.get((int(event[4]), int(event[3])))
        return event[0] if layer is None else _name(f"{layer} backward: {event[1]}") + event[2]

    def _step_mark(self, mark: re.Match[str]) -> str:
        return _name(f"{self.step_name} {mark[1]}{mark[2]}")

    def _spans(self, text: str) -> Iterator[str]:
        """An event from the begin of each step to its end."""
        begins: dict[str, dict[str, Any]] = {}
        # Exact times: a span that ends a nanosecond into the next event is not drawn as one.
        decoder = json.JSONDecoder(parse_float=Decimal)
        for mark in _STEP.finditer(text):
            event, _ = decoder.raw_decode(text, text.rfind("{", 0, mark.start()))
            if event["cat"] not in (_RANGE, _OPERATOR):
                continue
            if mark[2] == STEP_BEGINS:
                begins[mark[1]] = event
            elif mark[1] in begins:
                begin = begins[mark[1]]
                place = f'"pid": {json.dumps(begin["pid"])}, "tid": {json.dumps(begin["tid"])}'
                duration_us = event["ts"] - begin["ts"]
                yield (
                    f'\n  {{"ph": "X", "cat": "{_RANGE}", '
                    f"{_name(f'{self.step_name} {mark[1]}')}, {place}, "
                    f'"ts": {begin["ts"]}, "dur": {duration_us}}},'
                )


def _name(text: str) -> str:
    return f'"name": {json.dumps(text)}'
