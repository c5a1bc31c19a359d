"""The study in TensorBoard: its figures as images, its findings as text, in one event file."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# TensorBoard's messages have no types, and its writers write from a thread of their own.
from tensorboard.compat.proto import event_pb2, summary_pb2  # type: ignore[import-untyped]
from tensorboard.plugins.image.metadata import (  # type: ignore[import-untyped]
    create_summary_metadata,
)
from tensorboard.plugins.text.summary_v2 import text_pb  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]
from tensorboard.util.tensor_util import make_tensor_proto  # type: ignore[import-untyped]

from lightning_profile.study.analysis import Analysis
from lightning_profile.study.figures import Drawing
from lightning_profile.study.markdown import escaped, format_table
from lightning_profile.study.report import HTML_NAME
from lightning_profile.study.tables import step_table

# TensorBoard sorts by name and opens the first groups only: brackets come before letters.
GROUP = "(batch_size_study)"
_WHOLE_STEP = "(step)"
_FILES = "events.out.tfevents.*"  # TensorBoard reads what has "tfevents" in its name
_UNFINISHED = "events.part"  # and not this
_PNG_SIZE = struct.Struct(">16x2I")  # behind signature and head of the first chunk: W3C PNG, 11.2.1


def write_events(
    folder: Path, analysis: Analysis, findings: Sequence[str], drawings: Sequence[Drawing]
) -> None:
    """Write an event file into ``folder`` in place of those that are there.

    The new one has a name of its own, so that a TensorBoard that runs finds it; as its steps are
    those of the earlier one, it is shown in place of that.

    Raises:
        OSError: If it can't be written; what was there is then there still.
    """
    stale = list(folder.glob(_FILES))
    records = io.BytesIO()
    writer = RecordWriter(records)
    for event in _events(_text(analysis, findings), drawings):
        writer.write(event.SerializeToString())
    unfinished = folder / _UNFINISHED
    unfinished.write_bytes(records.getvalue())
    unfinished.replace(folder / _FILES.replace("*", str(time.time_ns())))
    for path in stale:
        path.unlink()


def _events(text: str, drawings: Sequence[Drawing]) -> Iterator[Any]:
    event = event_pb2.Event
    yield event(wall_time=time.time(), file_version="brain.Event:2")
    for summary in (
        text_pb(f"{GROUP}/findings", text),
        *(summary_pb2.Summary(value=[_image(each)]) for each in drawings),
    ):
        yield event(wall_time=time.time(), step=0, summary=summary)


def _text(analysis: Analysis, findings: Sequence[str]) -> str:
    dataset = analysis.measured[0].dataset
    return "\n\n".join(
        [
            f"### Cost against batch size on {escaped(analysis.machine.device)}",
            f"Training data: {dataset or 'unknown'}. The whole report is `{HTML_NAME}` in this "
            "run's folder.",
            "\n".join(f"- {escaped(each)}" for each in findings),
            format_table(step_table(analysis)),
        ]
    )


def _image(drawing: Drawing) -> Any:
    png = drawing.svg.with_suffix(".png").read_bytes()
    width, height = _PNG_SIZE.unpack_from(png)
    layer = _WHOLE_STEP if drawing.layer is None else drawing.layer[0]
    return summary_pb2.Summary.Value(
        tag=f"{GROUP}/{layer}/{drawing.kind}",
        metadata=create_summary_metadata(display_name=None, description=drawing.caption),
        tensor=make_tensor_proto([str(width).encode(), str(height).encode(), png]),
    )
