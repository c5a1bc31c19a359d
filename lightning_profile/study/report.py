"""The report: one text in Markdown, and the same as one HTML file with its figures inside."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from lightning_profile.records import Ceilings
from lightning_profile.report import whole_lines
from lightning_profile.report.units import UNKNOWN, format_bytes, format_rate
from lightning_profile.study import tables
from lightning_profile.study.analysis import Analysis
from lightning_profile.study.disturbance import OFTEN_PER_S
from lightning_profile.study.figures import Drawing
from lightning_profile.study.findings.surroundings import (
    failed_points,
    interruptions,
    several_devices,
)
from lightning_profile.study.markdown import escaped, format_table
from lightning_profile.study.projection import merged
from lightning_profile.study.tables import Table

_FIGURE = re.compile(r"<p>(<img [^>]*>)</p>\n<p><em>(.*)</em></p>")
MARKDOWN_NAME, HTML_NAME = "report.md", "report.html"


def write_report(
    folder: Path, analysis: Analysis, findings: Sequence[str], drawings: Sequence[Drawing]
) -> None:
    """Write both.

    Raises:
        OSError: If one can't be written.
    """
    environment = Environment(
        loader=PackageLoader("lightning_profile.study"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=select_autoescape(["html.j2"]),  # Markdown is no HTML
    )
    content = _content(analysis, findings, drawings)
    text = environment.get_template("report.md.j2").render(table=format_table, **content)
    page = environment.get_template("report.html.j2").render(
        title=content["title"],
        body=Markup(_html(text, folder)),  # noqa: S704  (it was escaped)
    )
    whole_lines.replace(folder / MARKDOWN_NAME, text)
    whole_lines.replace(folder / HTML_NAME, page)


def _content(
    analysis: Analysis, findings: Sequence[str], drawings: Sequence[Drawing]
) -> dict[str, Any]:
    sizes = [str(size) for size in analysis.batch_sizes]
    dataset = analysis.measured[0].dataset
    names = [layer for layer, _ in analysis.in_detail]
    subject = names[0] if len(names) == 1 else "a model's layers"
    warnings = [*several_devices(analysis), *failed_points(analysis), *interruptions(analysis)]
    return {
        "title": f"How the cost of {subject} grows with the batch size",
        "sizes": ", ".join(sizes),
        "machine": analysis.machine,
        "dataset": "" if dataset is None else f"{dataset} data and ",
        "warnings": warnings,
        "findings": [escaped(each) for each in findings if each not in warnings],
        "conditions": _conditions(analysis),
        "disturbed": analysis.disturbed,
        "often_per_s": OFTEN_PER_S,
        "step": tables.step_table(analysis),
        "step_figures": [_figure(each) for each in drawings if each.layer is None],
        "largest": max(point.batch_size for point in analysis.points if not point.is_trial),
        "predictions": tables.predictions_table(analysis),
        "layers": [_layer(analysis, layer, drawings) for layer in analysis.in_detail],
        "overview": tables.overview_table(analysis, analysis.batch_sizes[-1]),
        "overview_size": analysis.batch_sizes[-1],
        "projections": tables.projections_table(analysis),
        "projection_sources": sorted(
            {f"{names}: {each.card.source}" for names, each in merged(analysis.projections)}
        ),
        "points": tables.points_table(analysis),
    }


def _conditions(analysis: Analysis) -> Table:
    machine = analysis.machine
    ceilings = machine.ceilings
    rows = [
        ["device", f"{machine.device} ({machine.device_type})"],
        ["CPU threads", str(machine.threads)],
        *([name, version] for name, version in machine.versions.items()),
    ]
    for kind, each in (("peak", ceilings), ("empirical peak", machine.empirical_ceilings)):
        rows += [] if each is None else _peaks(analysis, kind, each)
    known = [
        point.machine.capacity_bytes
        for point in analysis.measured
        if point.machine is not None and point.machine.capacity_bytes is not None
    ]
    if known:
        rows.append(["memory for a training, at least", format_bytes(min(known))])
    return Table(columns=["", ""], rows=rows, words=2)


def _peaks(analysis: Analysis, kind: str, ceilings: Ceilings) -> list[list[str]]:
    """Those that the rooflines are drawn from, and where they come from."""
    rates = [
        [f"{kind}, {arithmetic}", format_rate(rate)]
        for arithmetic, rate in ceilings.flop_per_s.items()
        if rate is not None
    ]
    bandwidth = f"{ceilings.bytes_per_s / 1e9:.4g} GB/s" if ceilings.bytes_per_s else UNKNOWN
    return [*rates, [f"{kind}, bandwidth", bandwidth], [f"{kind}s, source", ceilings.source]]


def _layer(
    analysis: Analysis, layer: tuple[str, str], drawings: Sequence[Drawing]
) -> dict[str, Any]:
    rows = [row for row in analysis.layer_rows if row[:2] == layer]
    geometry = next(iter(analysis.rows[rows[0]].values())).geometry
    return {
        "name": layer[0],
        "path": layer[1],
        "geometry": geometry.partition("\n")[0].removesuffix("("),  # a container's name only
        "figures": [_figure(each) for each in drawings if each.layer == layer],
        "phases": [
            {
                "name": row[2],
                "value_table": tables.values_table(analysis, row),
                "line_table": tables.lines_table(analysis, row),
                "notes": sorted(
                    {escaped(each.note) for each in analysis.rows[row].values() if each.note}
                ),
            }
            for row in rows
        ],
    }


def _figure(drawing: Drawing) -> dict[str, str]:
    return {
        "path": f"figures/{drawing.svg.name}",
        "alt": drawing.name.replace("_", " "),
        "caption": drawing.caption,
    }


def _html(text: str, folder: Path) -> str:
    """The Markdown as HTML, its figures inside, its tables in boxes that scroll."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    for token in tokens:
        for child in token.children or ():
            if child.type == "image":
                _embed(child, folder)
    page = _FIGURE.sub(
        r"<figure>\1<figcaption>\2</figcaption></figure>",
        str(parser.renderer.render(tokens, parser.options, {})),
    )
    return page.replace("<table>", '<div class="table"><table>').replace(
        "</table>", "</table></div>"
    )


def _embed(image: Token, folder: Path) -> None:
    content = base64.b64encode((folder / str(image.attrs["src"])).read_bytes()).decode("ascii")
    image.attrs["src"] = f"data:image/svg+xml;base64,{content}"
