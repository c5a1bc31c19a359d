from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_profile import Schedule

counts = st.integers(0, 50)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"wait": -1}, "wait"),
        ({"warmup": 1.5}, "warmup"),
        ({"active": 0}, "active"),
        ({"active": True}, "active"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, int], word: str) -> None:
    with pytest.raises(ValueError, match=f"schedule.{word} must be a whole number"):
        Schedule(**values)


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan"), True, "0.1"])
def test_a_wrong_share_is_said(share: Any) -> None:
    with pytest.raises(
        ValueError, match=r"schedule.max_share must be a number above 0 and at most 1"
    ):
        Schedule(max_share=share)


@pytest.mark.parametrize("share", [None, 1, 0.02])
def test_a_share_is_kept_where_the_schedule_shrinks(share: float | None) -> None:
    assert Schedule(max_share=share).shrink_to(2).max_share == share


def test_shrinking_gives_up_waiting_first_and_the_last_active_step_never() -> None:
    schedule = Schedule(wait=10, warmup=1, active=3)
    assert schedule.shrink_to(100) == schedule
    assert schedule.shrink_to(8) == Schedule(wait=4, warmup=1, active=3)
    assert schedule.shrink_to(3) == Schedule(wait=0, warmup=1, active=2)
    assert schedule.shrink_to(1) == Schedule(wait=0, warmup=0, active=1)


@given(counts, counts, st.integers(1, 50), st.integers(1, 200))
def test_a_shrunk_schedule_fits(wait: int, warmup: int, active: int, epoch: int) -> None:
    schedule = Schedule(wait=wait, warmup=warmup, active=active)
    assert schedule.shrink_to(epoch).steps == min(schedule.steps, epoch)
