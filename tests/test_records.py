"""Records are not changed: all are frozen, some to type checkers only."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
from mypy import api

from lightning_profile import records
from lightning_profile.records import Block

REPOSITORY = Path(__file__).parent.parent
KINDS = [
    kind for name in records.__all__ if dataclasses.is_dataclass(kind := getattr(records, name))
]
CHANGE = """
from lightning_profile.records.record import record

@record(frozen=True, slots=True, kw_only=True)
class Weight:
    mass_kg: float

weight = Weight(mass_kg=1.0)
weight.mass_kg = 2.0
"""


def test_a_type_checker_sees_a_change(tmp_path: Path) -> None:
    program = tmp_path / "change.py"
    program.write_text(CHANGE, "utf-8")
    # Without the modules around it: they would take a minute.
    decorator = REPOSITORY / "lightning_profile" / "records" / "record.py"
    options = ["--strict", "--follow-imports=skip", "--config-file=", f"--cache-dir={tmp_path}"]
    said, faults, status = api.run([*options, str(program), str(decorator)])
    assert faults == ""
    assert 'change.py:9: error: Property "mass_kg" defined in "Weight" is read-only' in said
    assert status == 1


@pytest.mark.parametrize("kind", KINDS)
def test_records_have_slots_and_are_told_apart_by_their_values(kind: type) -> None:
    assert "__slots__" in vars(kind)
    assert kind.__hash__ is not None


def test_a_record_is_a_value() -> None:
    one, other = (Block(operator="aten::empty", bytes=512) for _ in range(2))
    assert one == other
    assert len({one, other}) == 1
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301  (its own)
