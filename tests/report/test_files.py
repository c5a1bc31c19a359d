from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lightning_profile import Schedule
from lightning_profile.report import RunFolder, new_version, whole_lines
from lightning_profile.report.csv_file import CSV_NAME, CsvFile
from lightning_profile.report.json_lines import JSON_NAME, JsonLinesFile
from tests.conftest import as_document
from tests.report.results import LAYER, comparison, result

# The columns that a user's own programs may rely on.
PROMISED = """epoch, global_step, batch_size, dataset, device, dtype, layer, layer_type,
qualified_name, phase, calls, steps, theoretical_flop, theoretical_elementwise_flop, counted_flop,
theoretical_read_bytes, theoretical_write_bytes, theoretical_allocated_bytes, allocated_bytes,
peak_allocated_bytes, cpu_time_ns, device_time_ns, flop_per_s"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path.parent, tmp_path.name)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_has_the_promised_columns_and_leaves_the_unknown_empty(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "new")
    path = tmp_path / "new" / CSV_NAME
    CsvFile(folder).write(result())
    (row,) = read(path)
    assert {name.strip() for name in PROMISED.split(",")} <= set(row)
    assert (row["theoretical_flop"], row["counted_flop"], row["flop_ratio"]) == (
        "1000",
        "1000",
        "1.0",
    )
    assert (row["allocated_bytes"], row["allocated_ratio"]) == ("8192", "2.0")
    assert row["device_time_ns"] == row["counted_elementwise_flop"] == ""
    assert float(row["flop_per_s"]) == 1000 / 2e-3
    assert row["dataset"] == "mnist, or so"


def test_the_csv_is_appended_to_with_one_header(tmp_path: Path, folder: RunFolder) -> None:
    path = tmp_path / CSV_NAME
    CsvFile(folder).write(result())
    CsvFile(folder).write(result(epoch=1))
    assert [row["epoch"] for row in read(path)] == ["0", "1"]


def test_a_window_that_a_resumed_training_repeats_replaces_the_earlier_one(
    tmp_path: Path, folder: RunFolder
) -> None:
    path = tmp_path / CSV_NAME
    for epoch in range(3):
        CsvFile(folder).write(result(epoch=epoch))
    resumed = CsvFile(folder, is_resumed=True)
    for epoch in (1, 2, 3):
        resumed.write(result(comparison(note="again"), epoch=epoch))
    assert [(row["epoch"], row["note"]) for row in read(path)] == [
        ("0", ""),
        ("1", "again"),
        ("2", "again"),
        ("3", "again"),
    ]
    assert not list(tmp_path.glob("*.part"))


def test_a_csv_with_other_columns_is_left_alone(tmp_path: Path, folder: RunFolder) -> None:
    path = tmp_path / CSV_NAME
    path.write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(ValueError, match="has other columns"):
        CsvFile(folder).write(result())
    assert path.read_text("utf-8") == "a,b\n1,2\n"


def test_the_json_has_a_line_per_window_and_goes_on_where_it_was(
    tmp_path: Path, folder: RunFolder
) -> None:
    path = tmp_path / JSON_NAME
    first = JsonLinesFile(folder, [LAYER], Schedule())
    for epoch in range(2):
        first.write(result(epoch=epoch))
        assert len(as_document(path)["windows"]) == epoch + 1
    JsonLinesFile(folder, [LAYER], Schedule()).write(result(epoch=2))
    document = as_document(path)
    assert [window["epoch"] for window in document["windows"]] == [0, 1, 2]
    assert document["schedule"] == {"wait": 10, "warmup": 0, "active": 1, "max_share": 0.015}
    first_window, second, resumed = document["windows"]
    (step,) = first_window["steps"]
    assert (step["batch_size"], step["phase"], step["cpu_time_ns"]) == (128, "forward", 2_000_000)
    assert first_window["calls"][0]["outputs"] == [
        {
            "name": "",
            "shape": [128, 3, 6, 6],
            "dtype": "float32",
            "requires_grad": True,
            "is_leaf": False,
        }
    ]
    assert first_window["derivations"][0]["costs"]["forward"]["derivation"][0]["value"] == 1000
    assert "derivations" not in second  # they are the same
    assert "derivations" in resumed
    assert not list(tmp_path.glob("*.part"))


def test_a_resumed_training_replaces_the_lines_of_windows_that_it_repeats(
    tmp_path: Path, folder: RunFolder
) -> None:
    path = tmp_path / JSON_NAME
    for epoch in range(3):
        JsonLinesFile(folder, [LAYER], Schedule()).write(result(epoch=epoch))
    JsonLinesFile(folder, [LAYER], Schedule(), is_resumed=True).write(
        result(epoch=1, dataset="again")
    )
    windows = as_document(path)["windows"]
    assert [(window["epoch"], window["dataset"]) for window in windows] == [
        (0, "mnist, or so"),
        (2, "mnist, or so"),
        (1, "again"),
    ]


def test_a_line_that_a_crash_has_torn_is_dropped_and_the_others_are_kept(
    tmp_path: Path, folder: RunFolder
) -> None:
    csv_path, json_path = tmp_path / CSV_NAME, tmp_path / JSON_NAME
    for _ in range(2):
        for epoch in range(2):
            CsvFile(folder).write(result(epoch=epoch))
            JsonLinesFile(folder, [LAYER], Schedule()).write(result(epoch=epoch))
        for path in (csv_path, json_path):
            path.write_bytes(path.read_bytes()[:-30])
    CsvFile(folder).write(result(epoch=5))
    JsonLinesFile(folder, [LAYER], Schedule()).write(result(epoch=5))
    assert [row["epoch"] for row in read(csv_path)] == ["0", "0", "5"]
    assert [window["epoch"] for window in as_document(json_path)["windows"]] == [0, 0, 5]


def test_every_line_of_the_json_is_as_short_as_json_can_be(
    tmp_path: Path, folder: RunFolder
) -> None:
    JsonLinesFile(folder, [LAYER], Schedule()).write(result())
    lines = (tmp_path / JSON_NAME).read_text("utf-8").splitlines()
    assert len(lines) == 2
    assert lines == [json.dumps(json.loads(line), separators=(",", ":")) for line in lines]


def test_csv_and_json_say_the_same(tmp_path: Path, folder: RunFolder) -> None:
    both = result(comparison(), comparison(cost=None))
    CsvFile(folder).write(both)
    JsonLinesFile(folder, [LAYER], Schedule()).write(both)
    (window,) = as_document(tmp_path / JSON_NAME)["windows"]
    as_text = [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in window["rows"]
    ]
    assert as_text == read(tmp_path / CSV_NAME)


def test_each_run_without_a_logger_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    assert [new_version(tmp_path / "runs").name for _ in range(3)] == [
        "version_0",
        "version_1",
        "version_2",
    ]


def test_another_training_in_the_same_folder_leaves_earlier_rows_alone(
    tmp_path: Path, folder: RunFolder
) -> None:
    for _ in range(2):
        CsvFile(folder).write(result())
        JsonLinesFile(folder, [LAYER], Schedule()).write(result())
    assert len(read(tmp_path / CSV_NAME)) == 2
    assert len(as_document(tmp_path / JSON_NAME)["windows"]) == 2


def test_what_can_not_take_a_files_place_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a_folder"
    (path / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="a_folder"):
        whole_lines.replace(path, "text\n")
    assert [each.name for each in tmp_path.iterdir()] == ["a_folder"]
