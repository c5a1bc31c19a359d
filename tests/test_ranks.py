"""Numbers of several processes, at a store without a network."""

from __future__ import annotations

import json

import pytest
import torch.distributed as dist

from lightning_profile import ranks
from lightning_profile.ranks import RankGatherer
from lightning_profile.records import RankSpread

KEY = ("conv", "forward")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dist.HashStore:
    """Three processes of which this is the first, and a clock that runs with each look."""
    made = dist.HashStore()
    monkeypatch.setattr(ranks, "_get_default_store", lambda: made)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(ranks.time, "sleep", lambda _: None)
    clock = iter(range(10_000))
    monkeypatch.setattr(ranks.time, "monotonic", lambda: next(clock) * 0.1)
    return made


def deliver(store: dist.HashStore, window: str, rank: int, value: float) -> None:
    store.set(f"lightning_profile/{window}/{rank}", json.dumps([[*KEY, {"cpu_time_ns": value}]]))


def test_the_spread_over_all_processes(store: dist.HashStore) -> None:
    deliver(store, "w", 1, 10)
    deliver(store, "w", 2, 40)
    spreads = RankGatherer().gather("w", {KEY: {"cpu_time_ns": 40, "kernels": 3}})
    assert spreads[KEY]["cpu_time_ns"] == RankSpread(
        ranks=(0, 1, 2), minimum=10, mean=30, maximum=40
    )
    assert spreads[KEY]["kernels"].ranks == (0,)  # unknown elsewhere
    assert not store.check(["lightning_profile/w/1"])  # what was read is not kept


def test_a_process_that_delivers_nothing_is_waited_for_once(store: dist.HashStore) -> None:
    gatherer = RankGatherer()
    deliver(store, "first", 2, 40)
    with pytest.warns(UserWarning, match="no layer profile came from process 1 in 2 s"):
        spreads = gatherer.gather("first", {KEY: {"cpu_time_ns": 20}})
    assert spreads[KEY]["cpu_time_ns"].ranks == (0, 2)
    deliver(store, "second", 2, 40)
    spreads = gatherer.gather("second", {KEY: {"cpu_time_ns": 20}})  # a warning would be an error
    assert spreads[KEY]["cpu_time_ns"].ranks == (0, 2)


def test_other_processes_only_deliver(
    store: dist.HashStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    assert RankGatherer().gather("w", {KEY: {"cpu_time_ns": 7}}) == {}
    assert json.loads(store.get("lightning_profile/w/1")) == [[*KEY, {"cpu_time_ns": 7}]]


def test_without_processes_there_is_nothing_to_gather() -> None:
    assert RankGatherer().gather("w", {KEY: {"cpu_time_ns": 7}}) == {}
