from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from torch.utils.tensorboard import SummaryWriter

from lightning_profile import Schedule
from lightning_profile.report import RunReport
from lightning_profile.report.scalars import scalars
from lightning_profile.report.tensorboard import TensorBoardReport
from tests.report.results import LAYER, comparison, result


def test_tags_are_the_csvs_words_and_the_unknown_is_left_out() -> None:
    values = scalars(result(comparison()))
    assert values["Conv2d-2/forward/theoretical_flop"] == 1000
    assert values["Conv2d-2/forward/allocated_ratio"] == 2.0
    assert values["Conv2d-2/memory/theoretical_parameter_bytes"] == 228
    assert values["Conv2d-2/memory/gradient_bytes"] == 114
    assert "Conv2d-2/forward/device_time_ns" not in values
    assert "Conv2d-2/memory/theoretical_optimizer_state_bytes" not in values
    assert None not in values.values()


def test_what_is_of_validation_shares_no_tag_with_what_is_of_training() -> None:
    of_training, of_validation = (scalars(result(stage=stage)) for stage in ("train", "validate"))
    assert not of_training.keys() & of_validation.keys()
    assert of_validation["Conv2d-2/validate/forward/counted_flop"] == 1000
    assert of_validation["Conv2d-2/validate/memory/gradient_bytes"] == 114


def test_the_layout_and_each_derivation_are_written_once_and_at_once(tmp_path: Path) -> None:
    writer = SummaryWriter(tmp_path)
    report = TensorBoardReport(writer, [LAYER])
    for epoch in range(2):
        report.write_scalars(result(epoch=epoch))
        report.write(result(epoch=epoch))
    (derivation,) = result().derivations
    report.write(
        replace(result(epoch=2), derivations=(replace(derivation, costs=None, reason="no theory"),))
    )
    events = EventAccumulator(str(tmp_path)).Reload()  # the writer is still open
    (layout_event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(layout_event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["Conv2d-2"]
    texts = [
        event.tensor_proto.string_val[0].decode()
        for event in events.Tensors("(summary)/theory_derivation/Conv2d-2/text_summary")
    ]
    assert len(texts) == 2
    assert "1,000 FLOP" in texts[0]
    assert "Training data: mnist, or so. Device: A Processor." in texts[0]
    assert "Unknown: no theory." in texts[1]
    writer.close()


def test_a_layout_that_could_not_be_written_is_tried_again(tmp_path: Path) -> None:
    class Failing(SummaryWriter):
        is_away = True

        def add_custom_scalars(self, layout: object) -> None:
            if self.is_away:
                raise OSError(28, "No space left on device")
            super().add_custom_scalars(layout)  # type: ignore[no-untyped-call]

    writer = Failing(tmp_path)
    report = TensorBoardReport(writer, [LAYER])
    with pytest.raises(OSError, match="No space left"):
        report.write_scalars(result(comparison()))
    assert not has_charts(tmp_path)
    writer.is_away = False
    report.write_scalars(result(comparison(), epoch=1))
    assert has_charts(tmp_path)


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_scalars_of_one_event_are_those_of_an_event_each(tmp_path: Path) -> None:
    window = result(comparison())
    TensorBoardReport(SummaryWriter(tmp_path / "one"), [LAYER]).write_scalars(window)
    logger = TensorBoardLogger(tmp_path, name="each", version="")
    logger.log_metrics(scalars(window), step=window.global_step)
    logger.save()
    assert read_scalars(tmp_path / "one") == read_scalars(tmp_path / "each")
    assert set(read_scalars(tmp_path / "one")) == set(scalars(window))


def test_a_loggers_prefix_and_its_own_way_of_logging_are_kept(tmp_path: Path) -> None:
    class Selective(TensorBoardLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            super().log_metrics({"only/this": 1.0}, step)

    with_prefix = TensorBoardLogger(tmp_path, name="prefix", version="", prefix="mine")
    selective = Selective(tmp_path, name="own", version="")
    report = RunReport([LAYER], Schedule())
    report.open([with_prefix, selective], None)
    report.write(result(comparison()))
    assert all(tag.startswith("mine-") for tag in read_scalars(tmp_path / "prefix"))
    assert set(read_scalars(tmp_path / "own")) == {"only/this"}
    assert not has_charts(tmp_path / "prefix")  # they would be empty
    assert has_charts(tmp_path / "own")


def has_charts(folder: Path) -> bool:
    return "custom_scalars__config__" in EventAccumulator(str(folder)).Reload().Tags()["tensors"]


def test_a_tags_first_value_says_what_it_is_and_in_which_unit(tmp_path: Path) -> None:
    report = TensorBoardReport(SummaryWriter(tmp_path), [LAYER])
    for epoch in range(2):
        report.write_scalars(result(epoch=epoch))
    events = EventAccumulator(str(tmp_path)).Reload()

    def said(name: str) -> str:
        metadata = events.SummaryMetadata(f"Conv2d-2/forward/{name}")
        assert metadata.plugin_data.plugin_name == "scalars"
        return str(metadata.summary_description)

    assert said("counted_flop").startswith("FLOP per step")
    assert said("cpu_time_ns").startswith("ns per step")
    undescribed = "Conv2d-2/forward/own_counted_flop"  # the name says it
    assert undescribed in events.Tags()["scalars"]
    assert undescribed not in events.summary_metadata
