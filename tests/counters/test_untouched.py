"""A training does not notice that calls of its layers are captured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.counters.untouched import changes_by_capture
from tests.trainings.untouched import CASES, ON_CPU_ONLY, Case, as_parameters


@pytest.mark.parametrize("case", as_parameters(CASES | ON_CPU_ONLY))
def test_the_training_is_the_same_bit_for_bit(tmp_path: Path, case: Case) -> None:
    assert changes_by_capture(tmp_path, case) == []
