"""docs/reading-the-numbers.md defines every name that a profile shows, and none that it doesn't."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from lightning_profile import Schedule
from lightning_profile.records import (
    AllocatedTensor,
    Ceilings,
    DeviceUse,
    ExecutedFlop,
    HardwareCount,
    HardwareKernel,
    KernelUse,
    MemoryPart,
    MemoryTable,
    OperatorSums,
    Phase,
    Roofline,
    Unavailable,
    UnavailableCause,
    WindowResult,
)
from lightning_profile.report import RunFolder
from lightning_profile.report.columns import QUANTITIES, RANK_STATISTICS, rows
from lightning_profile.report.json_lines import JSON_NAME, JsonLinesFile
from lightning_profile.report.pictures import Pictures
from lightning_profile.report.tensorboard import TensorBoardReport
from tests.report.results import COST, LAYER, SPREAD, WORK, comparison, measurement, result

PAGE = Path(__file__).parent.parent.parent / "docs" / "reading-the-numbers.md"
JSON_SECTION = "\n## The JSON lines\n"
# Objects whose keys are data: the page gives what they are, not each of them.
NAMED_BY_DATA = {"versions", "flop_per_s", "step_peak_bytes", "options"}
BY_PHASE = "derivations.costs"

KERNEL = HardwareKernel(
    name="gemm",
    executed=(ExecutedFlop(unit="fma", arithmetic="fp32", flop=1000),),
    product_flop=1000,
    elementwise_flop=1,
    dram_read_bytes=64,
    dram_write_bytes=32,
    time_ns=10,
)
COUNT = HardwareCount(phase=Phase.FORWARD, calls=1, kernels=(KERNEL,), cache_control="all")
REFUSAL = Unavailable(cause=UnavailableCause.NO_TOOL, reason="no ncu", remedy="install it")


def everything() -> WindowResult:
    """A window in which nothing that can be shown is unknown."""
    kernel = KernelUse(name="gemm", kind="matrix product", count=1, device_time_ns=9, share=1.0)
    on_device = DeviceUse(
        kernels=(kernel,), span_ns=9, grad_input_device_time_ns=4, grad_weight_device_time_ns=5
    )
    own = replace(WORK, counted_elementwise_flop=1, device_time_ns=9, kernels=1)
    measured = measurement(
        own=own,
        counted_elementwise_flop=1,
        device_time_ns=9,
        kernels=1,
        wall_time_ns=3_000_000,
        reserved_bytes=1 << 21,
        cached_bytes=1 << 20,
        on_device=on_device,
        operator_sums=OperatorSums(
            counts={"aten::mm": 1}, cpu_times_ns={"aten::mm": 8}, device_times_ns={"aten::mm": 9}
        ),
    )
    part = MemoryPart(name="output", operator="aten::mm", bytes=4096, kind="theory")
    limit = Roofline(time_ns=1.0, bound="memory", flop_per_byte=1.0, fraction=0.5)
    row = comparison(
        measured=measured,
        memory=MemoryTable(parts=(part,), measured_bytes=4096, residual_bytes=0),
        roofline=limit,
        empirical_roofline=limit,
        hardware=COUNT,
    )
    made = result(row, replace(row, phase=Phase.BACKWARD, hardware=REFUSAL))
    ceilings = Ceilings(flop_per_s={"fp32": 1e12}, bytes_per_s=1e11, source="a document")
    cost = replace(COST, tensors=(AllocatedTensor(name="output", bytes=4096),))
    (footprint,), (derivation,) = made.footprints, made.derivations
    return replace(
        made,
        measurements=(measured,),
        ceilings=ceilings,
        empirical_ceilings=ceilings,
        derivations=(replace(derivation, costs={Phase.FORWARD: cost}),),
        footprints=(
            replace(
                footprint, theoretical=replace(footprint.theoretical, optimizer_state_bytes=464)
            ),
        ),
        spreads={("body.conv2", "forward"): {"cpu_time_ns": SPREAD}},
        reading_time_ns=1,
        step_peak_bytes={11: 8704},
    )


def defined(text: str) -> list[str]:
    """Every name in the first column of a table that defines columns, tags or fields."""
    names = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *lines = table.splitlines()
        if re.match(r"\| (name|column|tag|statistic|field) \|", head):
            for line in lines:
                names += re.findall(r"`([^`]+)`", line.split("|")[1])
    return names


def sections() -> tuple[str, str]:
    """The page's part on columns and tags, and that on JSON."""
    before, mark, after = PAGE.read_text("utf-8").partition(JSON_SECTION)
    assert mark
    return before, after


def written_tags(folder: Path) -> set[str]:
    """All tags that TensorBoard gets, as the page has them: without layer, stage and phase."""
    writer = SummaryWriter(folder)
    report = TensorBoardReport(writer, [LAYER])
    for stage in ("train", "validate"):
        report.write_scalars(replace(everything(), stage=stage))
    report.write(everything())
    pictures = Pictures(RunFolder(folder.parent, folder.name), [report])
    pictures.write(everything())
    pictures.close()
    writer.close()
    found = EventAccumulator(str(folder)).Reload().Tags()
    tags = {tag for kind in ("scalars", "tensors", "images") for tag in found[kind]}
    tags.remove("custom_scalars__config__")
    beginning = re.compile(rf"^{LAYER.display_name}/(validate/)?((forward|backward)/)?")
    end = re.compile(rf"/(text_summary|{'|'.join(RANK_STATISTICS)})$")
    names = {end.sub("", beginning.sub("", tag)) for tag in tags}
    return {re.sub(rf"/{LAYER.display_name}$", "/LAYER", name) for name in names}


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Where there is a value in a JSON document, list items by the name of their list."""
    if isinstance(value, list):
        for each in value:
            yield from paths(each, path)
        if not any(isinstance(each, dict) for each in value):
            yield path
    elif isinstance(value, dict) and path.rpartition(".")[2] not in NAMED_BY_DATA:
        for key, each in value.items():
            name = "PHASE" if path == BY_PHASE else key
            yield from paths(each, f"{path}.{name}" if path else name)
    else:
        yield path


def written_fields(folder: Path) -> set[str]:
    JsonLinesFile(RunFolder(folder.parent, folder.name), [LAYER], Schedule()).write(everything())
    found = set()
    for line in (folder / JSON_NAME).read_text("utf-8").splitlines():
        document = json.loads(line)
        if "rows" in document:
            document["rows"] = None  # the CSV's columns
        found |= set(paths(document))
    return found


def test_every_column_and_every_tag_is_defined_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_profile.report.pictures._PATIENCE_S", 300.0)  # on a busy machine
    names = defined(sections()[0])
    columns = {column for row in rows(everything()) for column in row}
    assert len(names) == len(set(names))
    assert set(names) == columns | written_tags(tmp_path) | set(RANK_STATISTICS)


def test_every_field_of_the_json_lines_is_defined_and_nothing_else(tmp_path: Path) -> None:
    names = defined(sections()[1])
    assert len(names) == len(set(names))
    assert set(names) == written_fields(tmp_path)


def test_the_window_that_these_tests_look_at_knows_everything() -> None:
    row, *_ = rows(everything())
    assert not [name for name in QUANTITIES if row[name] is None]
    unknown = [each.name for each in fields(WindowResult) if not getattr(everything(), each.name)]
    assert set(unknown) == {"epoch"}


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_quantity_is_said_to_have_the_unit_that_its_name_has(name: str) -> None:
    (line,) = [each for each in sections()[0].splitlines() if each.startswith(f"| `{name}` |")]
    unit = line.split("|")[3].strip()
    ends = {"flop": "FLOP", "bytes": "B", "ns": "ns", "s": "FLOP/s", "byte": "FLOP/B"}
    assert unit == ends.get(name.rpartition("_")[2], "")
