"""Every process's numbers at the first one, without ever making one wait for another.

A collective would hang if one process has no window (its batches ended early, or its profile
stopped). So each puts its numbers into the key-value store that the processes met at, and the
first reads what is there within a time limit.
"""

from __future__ import annotations

import json
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping

import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from lightning_profile.records import RankSpread

RowKey = tuple[str, str]
Numbers = Mapping[RowKey, Mapping[str, int | float]]

_PATIENCE_S = 2.0  # the processes end each step together, so they are milliseconds apart
_POLL_S = 0.002


class RankGatherer:
    """Brings the numbers of each window to the first process."""

    def __init__(self) -> None:
        self._lost: set[int] = set()  # processes that did not deliver are not waited for again

    def gather(self, window: str, own: Numbers) -> dict[RowKey, dict[str, RankSpread]]:
        """Spread over the processes of every number of every row.

        Args:
            window: A name for the window that is the same on every process.
            own: This process's numbers: per row (qualified name and phase), by quantity.

        Returns:
            On the first process, per row and quantity; elsewhere nothing.
        """
        if not dist.is_available() or not dist.is_initialized():
            return {}
        rank, store = dist.get_rank(), _get_default_store()
        keys = [f"lightning_profile/{window}/{number}" for number in range(dist.get_world_size())]
        if rank != 0:
            payload = [[*key, dict(values)] for key, values in own.items()]
            store.set(keys[rank], json.dumps(payload))
            return {}
        by_rank: dict[int, Numbers] = {0: own}
        awaited = set(range(1, len(keys))) - self._lost
        deadline = time.monotonic() + _PATIENCE_S
        while awaited and time.monotonic() < deadline:
            for number in sorted(awaited):
                if store.check([keys[number]]):
                    rows = json.loads(store.get(keys[number]))
                    by_rank[number] = {(name, phase): values for name, phase, values in rows}
                    store.delete_key(keys[number])
                    awaited.discard(number)
            if awaited:
                time.sleep(_POLL_S)
        if awaited:
            self._lost |= awaited
            warnings.warn(
                f"no layer profile came from process {', '.join(map(str, sorted(awaited)))} in "
                f"{_PATIENCE_S:g} s: the spread over the processes goes on without",
                stacklevel=2,
            )
        return _spreads(by_rank)


def _spreads(by_rank: Mapping[int, Numbers]) -> dict[RowKey, dict[str, RankSpread]]:
    values: defaultdict[RowKey, defaultdict[str, dict[int, int | float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for rank, rows in by_rank.items():
        for key, quantities in rows.items():
            for name, value in quantities.items():
                values[key][name][rank] = value
    return {
        key: {
            name: RankSpread(
                ranks=tuple(of_rank),
                minimum=min(of_rank.values()),
                mean=sum(of_rank.values()) / len(of_rank),
                maximum=max(of_rank.values()),
            )
            for name, of_rank in quantities.items()
        }
        for key, quantities in values.items()
    }
