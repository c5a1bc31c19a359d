"""What TensorBoard reads of a study: its figures and findings, and no stale ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_profile.study.findings import findings
from lightning_profile.study.outputs import write_outputs
from tests.study.made import SIZES, analysis
from tests.tensorboard_server import fetch, tensorboard, wait_for

STEP_FIGURES = ["(batch_size_study)/(step)/memory", "(batch_size_study)/(step)/time"]
TEXT = "(batch_size_study)/findings"


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0})
    return events.Reload()


def text_of(events: EventAccumulator) -> str:
    (event,) = events.Tensors(TEXT)
    return str(event.tensor_proto.string_val[0].decode())


def test_every_figure_is_an_image_with_its_bytes_size_and_caption(tmp_path: Path) -> None:
    write_outputs(tmp_path, analysis())
    events = read(tmp_path)
    tags = [tag for tag in events.Tags()["tensors"] if tag != TEXT]
    assert sorted(tags)[:2] == STEP_FIGURES
    assert len(tags) == len(list((tmp_path / "figures").glob("*.png"))) >= 5
    for tag in tags:
        (event,) = events.Tensors(tag)
        width, height, png = event.tensor_proto.string_val
        layer, kind = tag.split("/")[1:]
        name = {"(step)": "step", "Conv2d-2": "conv2"}[layer]
        assert png == (tmp_path / "figures" / f"{name}_{kind}.png").read_bytes()
        height_px = 880 if name == "step" and kind == "memory" else 620  # of two panels and one
        assert (int(width), int(height)) == (700, height_px)
        metadata = events.SummaryMetadata(tag)
        assert metadata.plugin_data.plugin_name == "images"
        assert metadata.summary_description in (tmp_path / "report.md").read_text("utf-8")


def test_the_findings_and_the_steps_table_are_a_text(tmp_path: Path) -> None:
    made = analysis(row=lambda _: {"note": "a <b>note</b>"})
    write_outputs(tmp_path, made)
    events = read(tmp_path)
    assert events.SummaryMetadata(TEXT).plugin_data.plugin_name == "text"
    text = text_of(events)
    assert text.count("\n- ") == len(findings(made)) > 3
    assert "on A Processor" in text
    assert "| batch size |" in text


def test_a_study_that_goes_on_leaves_no_earlier_picture(tmp_path: Path) -> None:
    write_outputs(tmp_path, analysis(sizes=SIZES[:3]))
    (first,) = tmp_path.glob("*tfevents*")
    before = read(tmp_path)
    write_outputs(tmp_path, analysis())
    (second,) = tmp_path.glob("*tfevents*")
    assert second.name > first.name  # TensorBoard reads on in what comes later
    after = read(tmp_path)
    assert f"| {SIZES[-1]} |" in text_of(after)
    assert f"| {SIZES[-1]} |" not in text_of(before)
    for tag in STEP_FIGURES:
        (event,) = after.Tensors(tag)
        assert event.tensor_proto != before.Tensors(tag)[0].tensor_proto


def test_a_tensorboard_that_runs_shows_the_new_study_and_not_the_old(tmp_path: Path) -> None:
    study = tmp_path / "version_0"
    study.mkdir()
    write_outputs(study, analysis(sizes=SIZES[:3]))
    with tensorboard(tmp_path) as address:

        def texts() -> Any:
            return fetch(address, "plugin/text/text", run="version_0", tag=TEXT)

        def images() -> Any:
            tag = STEP_FIGURES[0]
            return fetch(address, "plugin/images/images", run="version_0", tag=tag, sample="0")

        before = wait_for(texts), wait_for(images)
        write_outputs(study, analysis())
        wait_for(lambda: texts() != before[0] and images() != before[1])
        (old,), (new,) = before[0], texts()
        assert len(images()) == 1
    largest = f"<td>{SIZES[-1]}</td>"
    assert largest in new["text"]
    assert largest not in old["text"]


def test_where_the_new_file_cannot_be_written_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_outputs(tmp_path, analysis(sizes=SIZES[:3]))
    (first,) = tmp_path.glob("*tfevents*")
    kept = first.read_bytes()
    (tmp_path / "events.part").mkdir()  # where the new one begins
    with pytest.raises(OSError, match=r"events\.part"):
        write_outputs(tmp_path, analysis())
    assert first.read_bytes() == kept
