"""All the places that a run's results go to, and what the console says of them."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lightning_profile.faults import describe_fault
from lightning_profile.records import Layer, WindowResult
from lightning_profile.report.console import format_tables
from lightning_profile.report.csv_file import CSV_NAME, CsvFile
from lightning_profile.report.json_lines import JSON_NAME, JsonLinesFile
from lightning_profile.report.pictures import Pictures
from lightning_profile.report.run_folder import RunFolder
from lightning_profile.report.scalars import scalars
from lightning_profile.report.tensorboard import TensorBoardReport
from lightning_profile.report.terminal import Terminal
from lightning_profile.report.trace_file import Trace, TraceFiles, file_name
from lightning_profile.schedule import Schedule

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

_NAMES_LISTED = 4  # of the layers that a pattern selects
_DRAWN_WITH = "matplotlib"
_PICTURES = "TensorBoard's pictures"

_Write = Callable[[WindowResult], None]


class RunReport:
    """Writes each window's result to every place; one that fails doesn't stop the others.

    Args:
        layers: The selected layers.
        schedule: The schedule as it was asked for.
        is_resumed: Whether the training goes on from a checkpoint: windows that it repeats
            replace those of the same name in the files.
        has_pictures: Whether TensorBoard gets pictures, where matplotlib is installed.
        has_trace: Whether the trace of the last window is kept.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        schedule: Schedule,
        *,
        is_resumed: bool = False,
        has_pictures: bool = False,
        has_trace: bool = False,
    ) -> None:
        self._layers = layers
        self._schedule = schedule
        self._is_resumed = is_resumed
        self._terminal = Terminal()
        self._files: dict[str, _Write] = {}
        self._places: dict[str, _Write] = {}
        self._complained: set[str] = set()
        self._newest: WindowResult | None = None
        self._last: WindowResult | None = None  # the same until it was printed
        self._tensorboard_folder: str | None = None
        self._folder: RunFolder | None = None
        self._has_pictures = has_pictures
        self._pictures: Pictures | None = None
        self._has_trace = has_trace
        self._traces: TraceFiles | None = None

    def open(self, loggers: Sequence[Logger], folder: RunFolder | None) -> None:
        """Connect the places.

        Args:
            loggers: The training's loggers; those of TensorBoard also get text and charts.
            folder: Where the files go; ``None`` for no files.
        """
        self._files, self._places = {}, {}
        reports: list[TensorBoardReport] = []
        if folder is not None:
            self._folder = folder
            with contextlib.suppress(OSError):  # said, and tried again, once there are results
                folder.claim()
            self._files[CSV_NAME] = CsvFile(folder, is_resumed=self._is_resumed).write
            self._files[JSON_NAME] = JsonLinesFile(
                folder, self._layers, self._schedule, is_resumed=self._is_resumed
            ).write
            self._traces = TraceFiles(folder) if self._has_trace else None
        for number, logger in enumerate(loggers, start=1):
            name = f"logger {number} ({type(logger).__name__})"
            self._places[name] = _to_logger(logger)
            writer: Any = getattr(logger, "experiment", None)
            if _is_tensorboard(writer):
                self._tensorboard_folder = logger.save_dir
                report = TensorBoardReport(writer, self._layers, self._traces)
                if _adds_scalars_as_they_are(logger):
                    self._places[name] = report.write_scalars
                elif not _prefix(logger):  # with one, TensorBoard has no tag of the charts
                    self._places[f"{name}'s charts"] = report.write_charts
                self._places[f"{name}'s text"] = report.write
                reports.append(report)
        if self._has_pictures and reports and folder is not None:
            if importlib.util.find_spec(_DRAWN_WITH) is None:
                self._say(
                    f"No pictures of the layers in TensorBoard: {_DRAWN_WITH} is not installed"
                )
            else:
                self._pictures = Pictures(folder, reports)
                self._places[_PICTURES] = self._pictures.write

    def announce(self, resolved: Sequence[tuple[str, Sequence[Layer]]]) -> None:
        """Say what each pattern resolved to, a line each."""
        for pattern, layers in resolved:
            self._say(f"Profiling {pattern}: {_describe(layers)}")

    def write(self, result: WindowResult, trace: Trace | None = None) -> None:
        """Write ``result`` everywhere, now. A place that fails is tried again next time.

        The trace comes after the rows, as it can take the last of a disk's room, and before
        TensorBoard, which says where it is.
        """
        self._last = self._newest = result
        files = dict(self._files)
        if trace is not None and self._traces is not None:
            write_trace = self._traces.write
            files[file_name(result.stage)] = lambda result: write_trace(result.stage, trace)
        for name, write in (files | self._places).items():
            self._try(name, result, write)

    def _try(self, name: str, result: WindowResult, write: _Write) -> None:
        """Write to a place; what is wrong with it is said once."""
        try:
            write(result)
        except Exception as fault:
            if name not in self._complained:
                self._complained.add(name)
                warnings.warn(
                    f"the layer profile of epoch {result.epoch} could not be written to "
                    f"{name}, the training goes on: {describe_fault(fault)}",
                    stacklevel=3,
                )

    def print_summary(self) -> None:
        """Print the table of the last window and how to open TensorBoard; once."""
        result, self._last = self._last, None
        if result is None:
            return
        for table in format_tables(result):
            self._terminal.print(table)
        self._say_where_files_are()
        if self._tensorboard_folder is not None:
            self._say(f"See every epoch: tensorboard --logdir {self._tensorboard_folder}")

    def close(self) -> None:
        """Add the last pictures, and let another run have the folder; safe more than once."""
        pictures, self._pictures = self._pictures, None
        try:
            if pictures is not None and self._newest is not None:
                self._try(_PICTURES, self._newest, lambda _: pictures.close())
        finally:
            if self._folder is not None:
                self._folder.release()
            self._newest = None

    def _say_where_files_are(self) -> None:
        if self._folder is None:
            self._say("No files were written, as in every fast_dev_run")
            return
        path = self._folder.path
        if path is not None:
            traces = [] if self._traces is None else self._traces.names()
            there = [name for name in (CSV_NAME, JSON_NAME, *traces) if (path / name).exists()]
            self._say(f"Written to {path}: {', '.join(there) or 'nothing'}")

    def _say(self, text: str) -> None:
        """Print one line as it is, however long."""
        self._terminal.print(text, highlight=False, markup=False, soft_wrap=True)


def _is_tensorboard(writer: object) -> bool:
    """Whether this is torch's SummaryWriter, by name: to import it takes a third of our time."""
    return any(
        kind.__module__.startswith("torch.utils.tensorboard") for kind in type(writer).__mro__
    )


def _adds_scalars_as_they_are(logger: Logger) -> bool:
    """Whether this is Lightning's own, without a prefix, so that its writer can be given them."""
    is_own = type(logger).log_metrics.__module__.split(".")[0] in ("lightning_fabric", "lightning")
    return is_own and not _prefix(logger)


def _prefix(logger: Logger) -> str:
    return getattr(logger, "_prefix", "") or ""


def _describe(layers: Sequence[Layer]) -> str:
    """One layer in full, several by number and name."""
    if len(layers) == 1 and not layers[0].is_container:
        return f"{layers[0].qualified_name} = {layers[0].module!r}"
    containers = sum(layer.is_container for layer in layers)
    leaves = len(layers) - containers
    counts = [
        f"{count} {noun if count == 1 else plural}"
        for count, noun, plural in (
            (leaves, "layer", "layers"),
            (containers, "container", "containers"),
        )
        if count
    ]
    names = [layer.qualified_name for layer in layers[:_NAMES_LISTED]]
    if len(layers) > _NAMES_LISTED:
        names.append("…")
    return f"{' and '.join(counts)} ({', '.join(names)})"


def _to_logger(logger: Logger) -> _Write:
    def write(result: WindowResult) -> None:
        logger.log_metrics(scalars(result), step=result.global_step)
        logger.save()

    return write
