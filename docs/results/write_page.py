"""Writes docs/results.md and its figures from the points in docs/results/points.

    python docs/results/write_page.py

A folder of points is what a study leaves in its ``points`` folder, on the device and with the
command that the page names.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_profile.report.units import format_time
from lightning_profile.study.analysis import Analysis, analyse
from lightning_profile.study.findings import findings
from lightning_profile.study.point import Point, read_point
from lightning_profile.study.projection import find_cards, merged
from lightning_profile.study.series import RowKey

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "results.md"
COMMAND = "python train.py --batch_size {sizes} {options}--project V100 --empirical_roofline true"
CARD = "V100"
SAMPLES = 55_000  # of MNIST's training images, 5,000 of the 60,000 are for validation
FIGURES = ("conv2_time", "conv2_memory")
PHASES: Sequence[RowKey] = (
    ("Conv2d-2", "conv2", "forward"),
    ("Conv2d-2", "conv2", "backward"),
)


@dataclass(frozen=True)
class Measured:
    """A study that is on the page.

    Attributes:
        name: Of its folder of points.
        title: As the page calls it.
        options: What it was asked for beside its batch sizes.
    """

    name: str
    title: str
    options: str


STUDIES = (
    Measured("h200_fp32", "H200, fp32", "--tf32 false "),
    Measured("h200_tf32", "H200, TF32", "--tf32 true "),
    Measured("h200_bf16", "H200, bf16", "--trainer.precision bf16-mixed "),
    Measured("cpu", "CPU, fp32", ""),
)
INTRODUCTION = """# How the cost of Conv2d-2 grows

The question this project began with: theory says that FLOPs and memory of a layer grow in a
straight line with the batch size. What does the machine do? Each study below trained the MNIST
CNN with each batch size and looked at `Conv2d-2`, 32 to 64 channels of 3 × 3. What it measured is
in `docs/results/points`; this page is made from it by `python docs/results/write_page.py`. How to
read it: [batch-size-study.md](batch-size-study.md)."""


def read_points(name: str) -> list[Point]:
    """The points of a study, the smallest batch first."""
    found = [read_point(path) for path in (FOLDER / "points" / name).glob("*.json")]
    return sorted((each for each in found if each), key=lambda each: each.batch_size)


def analyse_points(name: str) -> Analysis:
    """The numbers of a study."""
    return analyse(read_points(name), project_to=find_cards([CARD]), most_samples=SAMPLES)


def make_page() -> str:
    """The page's text."""
    analyses = {each: analyse_points(each.name) for each in STUDIES}
    parts = [INTRODUCTION, "## Side by side", *_side_by_side(analyses)]
    parts += ["## What a V100 would be expected to do", *_projection(analyses[STUDIES[0]])]
    for study, analysis in analyses.items():
        parts += _section(study, analysis)
    return "\n\n".join(parts) + "\n"


def _side_by_side(analyses: dict[Measured, Analysis]) -> list[str]:
    parts = []
    for title, name, show in _QUANTITIES:
        for row in PHASES:
            columns = {study.title: _values(each, row, name) for study, each in analyses.items()}
            sizes = sorted({size for values in columns.values() for size in values})
            table = [
                ["batch size", *columns],
                *(
                    [str(size), *(show(values.get(size)) for values in columns.values())]
                    for size in sizes
                ),
            ]
            parts += [f"**{title}, {row[2]}**", _table(table)]
    return parts


def _values(analysis: Analysis, row: RowKey, name: str) -> dict[int, float]:
    series = analysis.time_of(row) if name == "time" else analysis.of(row, name)
    return dict(series.values) if series is not None else {}


def _show_time(value: float | None) -> str:
    return "" if value is None else format_time(value)


def _show_rate(value: float | None) -> str:
    return "" if value is None else f"{value / 1e12:.2f}"


def _show_share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


_QUANTITIES: Sequence[tuple[str, str, Callable[[float | None], str]]] = (
    ("Time per step (device time; on the CPU, CPU time)", "time", _show_time),
    ("TFLOP/s", "flop_per_s", _show_rate),
    ("Fraction of the roofline", "roofline_fraction", _show_share),
)


def _projection(analysis: Analysis) -> list[str]:
    sizes = analysis.batch_sizes
    rows = [
        [each.row[2], names, each.arithmetic, *(format_time(each.times_ns[size]) for size in sizes)]
        for names, each in merged(analysis.projections)
        if each.row in PHASES
    ]
    return [
        "A projection, not a measurement: theory's FLOPs and compulsory traffic at the vendor's "
        "peaks, so the least time that a step could take there. How near a V100 comes to that was "
        "not measured: in fp32 the H200 took "
        f"{_factors(analysis)} times the time of its own roofline.",
        _table([["phase", "card", "arithmetic", *map(str, sizes)], *rows]),
    ]


def _factors(analysis: Analysis) -> str:
    fractions = [
        value for row in PHASES for value in _values(analysis, row, "roofline_fraction").values()
    ]
    return f"{1 / max(fractions):.1f} to {1 / min(fractions):.1f}"


def _section(study: Measured, analysis: Analysis) -> list[str]:
    machine = analysis.machine
    sizes = " ".join(str(size) for size in analysis.batch_sizes)
    return [
        f"## {study.title}",
        f"{machine.device}, {machine.threads} CPU threads, torch {machine.versions['torch']}:",
        f"    {COMMAND.format(sizes=sizes, options=study.options)}",
        *(f"![{study.title}: {name}](results/{study.name}_{name}.png)" for name in FIGURES),
        "\n".join(f"- {sentence}" for sentence in findings(analysis)),
    ]


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "--:|" * len(rows[0]), *body])


def main() -> None:
    """Write the page and its figures."""
    # Slow to import.
    from lightning_profile.study.figures import draw_figures  # noqa: PLC0415

    PAGE.write_text(make_page(), "utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for study in STUDIES:
            draw_figures(analyse_points(study.name), Path(folder))
            for name in FIGURES:
                shutil.copy(Path(folder, f"{name}.png"), FOLDER / f"{study.name}_{name}.png")
    print(PAGE)


if __name__ == "__main__":
    main()
