"""What only TensorBoard can show: charts with several lines, pictures, and text.

Also the scalars, all of a window in one event: as an event each they take six times as long.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from lightning_profile.records import Layer, WindowResult
from lightning_profile.report.charts import Chart, chart_layout
from lightning_profile.report.derivation import format_derivation
from lightning_profile.report.descriptions import description_of
from lightning_profile.report.scalars import scalars
from lightning_profile.report.summary_text import format_summary
from lightning_profile.report.trace_file import TraceFiles

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# One group for all texts: TensorBoard opens the first two, and a study beside has one, too.
_TEXTS = "(summary)"


class TensorBoardReport:
    """Writes the layout of charts, and a derivation, whenever it differs from the last one.

    Args:
        writer: The logger's.
        layers: The selected layers.
        traces: Of the last windows, if they are kept.
    """

    def __init__(
        self, writer: SummaryWriter, layers: Sequence[Layer], traces: TraceFiles | None = None
    ) -> None:
        self._writer = writer
        self._layers = layers
        self._traces = traces
        self._tags: set[str] = set()
        self._layout: dict[str, dict[str, Chart]] = {}
        self._described: set[str] = set()
        self._written: dict[str, tuple[object, ...]] = {}

    def write_scalars(self, result: WindowResult) -> None:
        """Add every number of ``result`` under its tag, as ``add_scalar`` would, and the charts."""
        # Slow to import, and there once a writer is.
        from tensorboard.compat.proto import summary_pb2  # type: ignore # noqa: PGH003, PLC0415

        kind = summary_pb2.Summary
        values = []
        numbers = scalars(result)
        for tag, number in numbers.items():
            value = kind.Value(tag=tag, simple_value=number)
            description = "" if tag in self._described else description_of(tag)
            if description:  # TensorBoard takes a tag's first
                self._described.add(tag)
                # The plugin that writes and the class of data, as without them no description is
                # taken by both of TensorBoard's readers of files.
                value.metadata.plugin_data.plugin_name = "scalars"
                value.metadata.data_class = summary_pb2.DATA_CLASS_SCALAR
                value.metadata.summary_description = description
            values.append(value)
        # As add_scalar does; no method of the writer takes several.
        files = self._writer._get_file_writer()  # type: ignore[no-untyped-call]
        files.add_summary(kind(value=values), result.global_step)
        self._write_layout(numbers.keys())
        self._writer.flush()

    def write_charts(self, result: WindowResult) -> None:
        """Add the charts alone, of a logger that has a way of its own to add scalars."""
        self._write_layout(scalars(result).keys())
        self._writer.flush()

    def _write_layout(self, tags: AbstractSet[str]) -> None:
        """Also a later window may know more, such as of a layer that did not run in the first."""
        if tags <= self._tags:
            return
        known = self._tags | tags
        layout = chart_layout(self._layers, known)
        if layout != self._layout:
            self._writer.add_custom_scalars(layout)
            self._layout = layout
        self._tags = known  # last: what failed is tried again with the next window

    def write_pictures(self, pictures: Mapping[str, bytes], step: int) -> None:
        """Add PNGs by their tags as they are: ``add_image`` would decode and encode them anew."""
        from tensorboard.compat.proto import summary_pb2  # noqa: PLC0415  (as above)

        kind = summary_pb2.Summary
        values = []
        for tag, png in pictures.items():
            # A PNG begins with its signature, then its header: size and depth.
            width, height = struct.unpack(">II", png[16:24])
            image = kind.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
            values.append(kind.Value(tag=tag, image=image))
        if values:
            files = self._writer._get_file_writer()  # type: ignore[no-untyped-call]
            files.add_summary(kind(value=values), step)
            self._writer.flush()

    def write(self, result: WindowResult) -> None:
        """Add what is new in ``result`` and flush, so that it can be seen at once."""
        for derivation in result.derivations:
            name = derivation.layer.display_name
            content = (
                derivation.call.inputs,
                derivation.costs,
                derivation.footprint,
                derivation.reason,
                result.dataset,
                result.device,
            )
            if self._written.get(name) == content:  # formatting it takes longer than the rest
                continue
            text = (
                f"{format_derivation(derivation)}\n\nTraining data: "
                f"{result.dataset or 'unknown'}. Device: {result.device.name}."
            )
            self._writer.add_text(f"{_TEXTS}/theory_derivation/{name}", text, result.global_step)
            self._written[name] = content
        stage = "" if result.stage == "train" else f"{result.stage}/"
        tag = f"{_TEXTS}/{stage}theory_and_measurement"
        trace = None if self._traces is None else self._traces.of_last_window(result.stage)
        self._writer.add_text(tag, format_summary(result, trace), result.global_step)
        self._writer.flush()
