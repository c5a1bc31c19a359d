"""The trace of the last window as a file: layers and steps by name, and only if asked for."""

from __future__ import annotations

import contextlib
import gc
import gzip
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback, LightningModule, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from lightning_profile import LayerProfiler
from lightning_profile.measurement import ChromeTrace
from tests.conftest import read_csv, train
from tests.trainings.rows import SCHEDULE
from tests.trainings.test_loops import Validated
from tests.trainings.test_passes import Model, checkpointed
from tests.trainings.traces import Trace, read_trace, trace_of


def profiler(stages: Any = "train", layers: Any = "all") -> LayerProfiler:
    return LayerProfiler(layers, SCHEDULE, stages, trace=True)


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    """Of steps 2 and 3."""
    train(tmp_path, profiler(), model=Model)
    return trace_of(tmp_path)


def test_a_layers_operators_lie_in_the_time_of_its_forward(trace: Trace) -> None:
    for layer, operator, other in (
        ("conv1", "aten::convolution", "aten::addmm"),
        ("conv2", "aten::convolution", "aten::addmm"),
        ("fc", "aten::addmm", "aten::convolution"),
    ):
        spans = trace.named(f"{layer} forward")
        assert len(spans) == 2  # one in each step
        for span in spans:
            inside = trace.inside(span)
            assert inside.count(operator) == 1
            assert other not in inside
    assert not [name for name in trace.names if "lightning_profile" in name]


def test_the_backward_has_the_layers_names_too(trace: Trace) -> None:
    (span, later) = trace.named("conv2 backward: ConvolutionBackward0")
    assert "ConvolutionBackward0" in trace.inside(span)
    (forward, *_) = trace.named("conv2 forward")
    assert forward["ts"] + forward["dur"] < span["ts"]
    (forward_operator, *_) = [
        event
        for event in trace.named("aten::conv2d")
        if 0 <= event["ts"] - forward["ts"] <= forward["dur"]
    ]
    number = "Sequence number"
    assert span["args"][number] == forward_operator["args"][number] != later["args"][number]
    # The loss is no layer's.
    assert "autograd::engine::evaluate_function: NllLossBackward0" in trace.names


def test_each_step_is_a_span_around_what_ran_in_it(trace: Trace) -> None:
    steps = [trace.named(f"training step {number}") for number in (1, 2, 3, 4)]
    assert [len(spans) for spans in steps] == [0, 1, 1, 0]
    second, third = steps[1][0], steps[2][0]
    for span in (second, third):
        inside = trace.inside(span)
        assert inside.count("conv2 forward") == 1
        for layer in ("conv1", "conv2"):
            assert inside.count(f"{layer} backward: ConvolutionBackward0") == 1
        assert [name for name in inside if name.startswith("Optimizer.step#")] == [
            "Optimizer.step#SGD.step"
        ]
    for number, span in ((2, second), (3, third)):
        (begin,), (end,) = (
            trace.named(f"training step {number} {at}") for at in ("begins", "ends")
        )
        assert span["ts"] == begin["ts"]
        assert span["ts"] + span["dur"] == pytest.approx(end["ts"], abs=1e-3)  # a nanosecond
    assert second["ts"] + second["dur"] < third["ts"]


def test_shapes_and_allocations_are_as_the_profiler_writes_them(trace: Trace) -> None:
    (span, _) = trace.named("conv2 forward")
    (operator, *_) = [each for each in trace.named("aten::convolution") if each["ts"] >= span["ts"]]
    assert operator["args"]["Input Dims"][:3] == [[8, 4, 10, 10], [8, 4, 3, 3], [8]]
    output_bytes = 8 * 8 * 10 * 10 * 4
    allocations = [
        event["args"]["Bytes"]
        for event in trace.events
        if event["name"] == "[memory]" and 0 <= event["ts"] - span["ts"] <= span["dur"]
    ]
    assert output_bytes in allocations
    assert trace.document["with_flops"] == 1


def test_a_forward_that_the_backward_repeats_is_called_so(tmp_path: Path) -> None:
    train(tmp_path, profiler(), model=checkpointed(use_reentrant=False))
    trace = trace_of(tmp_path)
    (recompute, _), (forward, _) = (
        trace.named(f"conv2 {phase}") for phase in ("recompute", "forward")
    )
    assert recompute["ts"] > forward["ts"] + forward["dur"]


def test_a_forward_that_raised_is_called_so(tmp_path: Path) -> None:
    class Failing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise ArithmeticError

    class Trying(Model):
        def __init__(self) -> None:
            super().__init__()
            self.attempt = Failing()

        def forward(self, images: Tensor) -> Tensor:
            with contextlib.suppress(ArithmeticError):
                self.attempt(images)
            return super().forward(images)

    train(tmp_path, profiler(), model=Trying)
    trace = trace_of(tmp_path)
    assert trace.names.count("a forward that raised") == 2
    assert len(trace.named("conv2 forward")) == 2


def test_names_that_json_has_to_escape_stay_as_they_are(tmp_path: Path) -> None:
    class Quoting(Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv2 = nn.Sequential(OrderedDict({'a "b" \\1': self.conv2}))

    train(tmp_path, profiler(), model=Quoting)
    assert len(trace_of(tmp_path).named('conv2.a "b" \\1 forward')) == 2


def test_each_stage_has_a_file(tmp_path: Path) -> None:
    train(tmp_path, profiler(["train", "validate"]), model=Validated)
    of_training, of_validation = (trace_of(tmp_path, stage) for stage in ("train", "validate"))
    assert len(of_training.named("training step 2")) == 1
    (step,) = of_validation.named("validation step 2")
    assert "conv2 forward" in of_validation.inside(step)
    assert not [name for name in of_validation.names if "Backward" in name]
    assert not [name for name in of_training.names if "validation" in name]


class Look(Callback):
    """Reads what is there at the end of each epoch."""

    def __init__(self) -> None:
        self.found: list[tuple[set[str], Trace]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (path,) = Path(trainer.default_root_dir).rglob("trace_train.json.gz")
        names = {each.name for each in path.parent.iterdir()}
        self.found.append((names, read_trace(path)))


def test_each_window_replaces_the_one_before_and_leaves_a_whole_file(tmp_path: Path) -> None:
    look = Look()
    train(tmp_path, profiler(), look, model=Model, max_epochs=3)
    starts = [trace.named("training step 2")[0]["ts"] for _, trace in look.found]
    assert len(starts) == 3
    assert starts == sorted(set(starts))
    for names, _ in look.found:
        assert {name for name in names if "trace" in name} == {"trace_train.json.gz"}


def test_nothing_is_written_or_kept_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(ChromeTrace, "__init__", lambda *arguments: made.append(arguments))
    train(tmp_path, LayerProfiler("all", SCHEDULE), model=Model)
    assert read_csv(tmp_path)
    assert not list(tmp_path.rglob("trace_*"))
    assert not made
    assert "trace" not in summary(tmp_path)


def test_what_was_recorded_is_gone_with_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces: list[weakref.ref[ChromeTrace]] = []
    make = ChromeTrace.__init__

    def note(self: ChromeTrace, *arguments: Any, **named: Any) -> None:
        traces.append(weakref.ref(self))
        make(self, *arguments, **named)

    monkeypatch.setattr(ChromeTrace, "__init__", note)

    class Alive(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            assert not [each for each in traces if each() is not None]

    gc.disable()  # nothing has to be found by the collector
    try:
        train(tmp_path, profiler(), Alive(), model=Model, max_epochs=2)
    finally:
        gc.enable()
    assert len(traces) == 4  # of each window as it was recorded, and with the backward's names


def summary(folder: Path, stage: str = "") -> str:
    """TensorBoard's text of the last window."""
    (events,) = folder.rglob("events.out.tfevents.*")
    tag = f"(summary)/{stage}theory_and_measurement/text_summary"
    text: bytes = EventAccumulator(str(events)).Reload().Tensors(tag)[-1].tensor_proto.string_val[0]
    return text.decode()


def test_tensorboards_text_says_where_it_is_and_how_to_open_it(tmp_path: Path) -> None:
    train(tmp_path, profiler(["train", "validate"]), model=Validated)
    for stage, prefix in (("train", ""), ("validate", "validate/")):
        (path,) = tmp_path.rglob(f"trace_{stage}.json.gz")
        text = summary(tmp_path, prefix)
        assert f"`{path}`" in text
        assert "<https://ui.perfetto.dev>" in text


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")
def test_a_window_that_another_profiler_took_leaves_the_earlier_file(tmp_path: Path) -> None:
    kept: list[bytes] = []

    class Theirs(Callback):
        """A user's profiler around the second epoch."""

        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch == 1:
                (path,) = tmp_path.rglob("trace_*")
                kept.append(path.read_bytes())
                self.session = profile(activities=[ProfilerActivity.CPU])
                self.session.start()

        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch == 1:
                self.session.stop()

    with pytest.warns(UserWarning, match=r"torch.profiler is recording or about to"):
        train(tmp_path, profiler(), Theirs(), model=Model, max_epochs=2)
    (path,) = tmp_path.rglob("trace_*")
    assert kept == [path.read_bytes()]
    assert gzip.decompress(kept[0]).endswith(b'"traceName": "trace.json"}\n')
