"""The files of a study say the same: report, table of values, and figures."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lightning_profile.study.csv_file import COLUMNS
from lightning_profile.study.outputs import write_outputs
from lightning_profile.study.point import Point
from lightning_profile.study.projection import find_cards
from lightning_profile.study.quantities import KNOWN
from tests.study.made import SIZES, analysis

SCALES = {
    "": 1,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "ns": 1,
    "µs": 1e3,
    "ms": 1e6,
    "s": 1e9,
}
TITLES = {each.title: each.name for each in KNOWN.values()}
NASTY = "void gemm<float, 128>(float*, int) | `[x](y)` <script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study")
    made = analysis(
        {
            "flop_per_s": lambda n: 1e9 * n,
            "flop_per_byte": lambda n: 10.0 * n,
            "roofline_fraction": lambda n: 0.001 * n,
        },
        {"wall_time_ns": lambda n: 9000.0 * n * n},
        extra=[Point(batch_size=512, status="out of memory", requested_bytes=2**30)],
        row=lambda n: {"algorithms": (NASTY if n > 64 else "gemm",), "note": NASTY},
        project_to=find_cards(["T4", "V100"]),
    )
    write_outputs(path, made)
    return path


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "study.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    found = re.fullmatch(r"(−?)([\d.,]+(?:e[+-]\d+)?) ?(\D*)", text)
    assert found is not None, text
    unit = re.sub(r"FLOP(/s)?$", "", found[3])
    value = float(found[2].replace(",", "")) * SCALES[unit]
    return -value if found[1] else value


def tables(folder: Path) -> dict[str, list[list[str]]]:
    """The report's tables by the heading that they stand under; of two, their lines together."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in (folder / "report.md").read_text("utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|"):
            cells = re.split(r"(?<!\\) \| |(?<!\\)\| ?", line.strip())[1:-1]
            found.setdefault(heading, []).append([cell.strip() for cell in cells])
    return found


def test_the_reports_tables_have_the_numbers_of_the_csv(folder: Path) -> None:
    values = {
        (row["layer"], row["phase"], row["quantity"], row["batch_size"]): float(row["value"])
        for row in rows(folder)
        if row["status"] == "finished"
    }
    compared = 0
    found = tables(folder)
    head, _, *lines = found["The training step"]
    for line in lines:
        for title, cell in zip(head[1:-2], line[1:-2], strict=True):
            if cell:
                key = "training-step", "", TITLES[title], line[0]
                assert number(cell) == pytest.approx(values[key], rel=6e-3)
                compared += 1
    head, _, *lines = found["Conv2d-2 forward"]
    for line in lines:
        if line[0] == "quantity":  # the table of lines comes next
            break
        for size, cell in zip(head[1:], line[1:], strict=True):
            key = "Conv2d-2", "forward", TITLES[line[0]], size
            assert number(cell) == pytest.approx(values[key], rel=6e-3, abs=5e-4)
            compared += 1
    assert compared > 60


def test_the_reports_lines_are_those_of_the_csv(folder: Path) -> None:
    lines = tables(folder)["Conv2d-2 forward"]
    start = next(i for i, line in enumerate(lines) if line[1:2] == ["slope, per sample"])
    csv_rows = {row["quantity"]: row for row in rows(folder) if row["layer"] == "Conv2d-2"}
    compared = 0
    for title, slope, theory, intercept, r_squared, _ in lines[start + 2 :]:
        row = csv_rows[TITLES[title]]
        assert number(slope) == pytest.approx(float(row["slope"]), rel=6e-3)
        assert number(intercept) == pytest.approx(float(row["intercept"]), rel=6e-3, abs=1)
        assert float(r_squared) == pytest.approx(float(row["r_squared"]), abs=1e-5)
        if theory:
            assert number(theory) == pytest.approx(float(row["theoretical_slope"]), rel=6e-3)
        compared += 1
    assert compared > 5


def test_the_csv_has_lines_in_exact_numbers(folder: Path) -> None:
    (row,) = [
        row
        for row in rows(folder)
        if (row["quantity"], row["batch_size"]) == ("counted_flop", "64")
    ]
    assert list(row) == list(COLUMNS)
    assert (row["value"], row["slope"], row["intercept"]) == ("64000", "1000", "0")
    assert (row["r_squared"], row["theoretical_slope"], row["unit"]) == ("1", "1000", "FLOP")


def test_what_ran_out_of_memory_is_in_every_file(folder: Path) -> None:
    (row,) = [row for row in rows(folder) if row["status"] == "out of memory"]
    assert (row["batch_size"], row["quantity"], row["value"]) == (
        "512",
        "requested_bytes",
        str(2**30),
    )
    document = json.loads((folder / "study.json").read_text("utf-8"))
    assert document["points"][-1]["status"] == "out of memory"
    for name in ("report.md", "report.html"):
        assert "out of memory, asked for 1.00 GiB" in (folder / name).read_text("utf-8")


def test_a_projection_is_called_one_in_every_file(folder: Path) -> None:
    projected = [row for row in rows(folder) if row["quantity"].startswith("projected")]
    assert projected
    assert {row["status"] for row in projected} == {"projection"}
    assert all(row["device"].startswith("projection: ") for row in projected)
    measured = [row for row in rows(folder) if row["status"] == "finished"]
    assert {row["device"] for row in measured} == {"A Processor"}
    document = json.loads((folder / "study.json").read_text("utf-8"))
    assert all(each["is_projection"] for each in document["projections"])
    report = (folder / "report.md").read_text("utf-8")
    assert "Projection, not measured" in report
    assert "Nothing was measured on these" in report


class Page(HTMLParser):
    """What a page shows and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "td" and data.strip():
            self.cells.append(data.strip())


def test_the_page_needs_nothing_but_itself_and_runs_nothing(folder: Path) -> None:
    text = (folder / "report.html").read_text("utf-8")
    page = Page(text)
    assert page.tags.count("img") == len(list((folder / "figures").glob("*.svg"))) > 0
    assert all(each.startswith("data:image/svg+xml;base64,") for each in page.loads)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text


def test_the_page_has_the_numbers_of_the_markdown(folder: Path) -> None:
    cells = set(Page((folder / "report.html").read_text("utf-8")).cells)
    for line in tables(folder)["The training step"][2:]:
        assert {cell for cell in line if cell} <= cells


def test_every_figure_is_there_as_svg_and_as_png(folder: Path) -> None:
    svgs = sorted((folder / "figures").glob("*.svg"))
    assert [path.stem for path in svgs] == [
        "conv2_flop",
        "conv2_memory",
        "conv2_rate",
        "conv2_roofline",
        "conv2_time",
        "step_memory",
        "step_time",
    ]
    for path in svgs:
        ET.parse(path)  # noqa: S314  (it is our own)
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    report = (folder / "report.md").read_text("utf-8")
    assert all(f"](figures/{path.name})" in report for path in svgs)


def test_a_disturbed_point_is_marked_in_every_file_and_the_rule_stands_below_the_table(
    tmp_path: Path, folder: Path
) -> None:
    busy = {"wall_time_ns": lambda n: 1e6 * n, "interruptions": lambda n: n * (n == 32)}
    write_outputs(tmp_path, analysis(step=busy))
    outcomes = {line[0]: line[-1] for line in tables(tmp_path)["The training step"][2:]}
    assert outcomes == {str(n): f"finished{', disturbed' if n == 32 else ''}" for n in SIZES}
    rule = "is *disturbed* if a thread had to leave its CPU more than 50 times per second"
    assert rule in (tmp_path / "report.md").read_text("utf-8")
    assert rule not in (folder / "report.md").read_text("utf-8")
    for where, sizes in ((tmp_path, [32]), (folder, [])):
        document = json.loads((where / "study.json").read_text("utf-8"))
        assert document["disturbed_batch_sizes"] == sizes
    drawn = (tmp_path / "figures" / "step_time.svg").read_text("utf-8")
    assert "measured, disturbed" in drawn
    assert "measured, disturbed" not in (folder / "figures" / "step_time.svg").read_text("utf-8")


def test_one_point_is_enough_for_every_file(tmp_path: Path) -> None:
    write_outputs(tmp_path, analysis(sizes=SIZES[:1]))
    assert "## Findings" in (tmp_path / "report.md").read_text("utf-8")
    assert len(rows(tmp_path)) > 5
