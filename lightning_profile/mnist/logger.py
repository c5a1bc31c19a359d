"""TensorBoard's logger of the demo: a version of its own for each run, and a row in HParams."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only


class LoggerOfOneRun(TensorBoardLogger):
    """Takes the next version by making its folder: two runs that start together get two.

    Its row in TensorBoard's HParams has, beside the model's own, how the run was started. The
    metrics are named there and taken from the run's scalars, so that there are none twice.

    Args:
        folder: Of all runs.
        new_version: Makes the next run's folder in it.
        conditions: How the run was started, by name.
        metrics: Tags of scalars.
    """

    def __init__(
        self,
        folder: Path,
        new_version: Callable[[Path], Path],
        *,
        conditions: Mapping[str, str | int],
        metrics: Sequence[str],
    ) -> None:
        super().__init__(folder.parent, folder.name, default_hp_metric=False)
        self._new_version = new_version
        self._conditions = conditions
        self._metrics = metrics
        self._session_end: Any = None

    def log_hyperparams(
        self,
        params: dict[str, Any] | argparse.Namespace,
        metrics: dict[str, Any] | None = None,
        step: int | None = None,
    ) -> None:
        """What Lightning found in model and data, at the start of the training."""
        super().log_hyperparams(params, metrics, step)
        rank: int = rank_zero_only.rank  # type: ignore[attr-defined]
        if rank == 0 and metrics is None and self._session_end is None:
            # Slow to import, and there once a writer is.
            from torch.utils.tensorboard.summary import hparams  # noqa: PLC0415

            own = {name: each for name, each in self.hparams.items() if not name.startswith("_")}
            named = {**own, **self._conditions}
            columns = dict.fromkeys(self._metrics, 0.0)
            experiment, start, self._session_end = hparams(named, columns)  # type: ignore[no-untyped-call]
            self._add(experiment)
            self._add(start)

    def finalize(self, status: str) -> None:
        """The row's last word, if all went well."""
        if status == "success" and self._session_end:
            self._add(self._session_end)
            self._session_end = False  # a test finalizes, too
        super().finalize(status)

    def _add(self, summary: Any) -> None:
        # As the writer's add_hparams does, which would make a run of its own.
        self.experiment._get_file_writer().add_summary(summary)

    def _get_next_version(self) -> int:
        rank: int = rank_zero_only.rank  # type: ignore[attr-defined]
        if rank != 0:  # the first process has made the folder for all
            return super()._get_next_version()
        return int(self._new_version(Path(self.root_dir)).name.removeprefix("version_"))
