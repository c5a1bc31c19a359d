"""The callback in real trainings: true numbers, in every place, for what a training does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_profile import LayerProfiler, LayerSelectionError, Schedule
from lightning_profile.comparison.notes import NOT_RUN
from lightning_profile.report.columns import QUANTITIES
from tests.conftest import SmallCnn, read_csv, read_json, read_rest, small_data, train

SCHEDULE = Schedule(wait=1, warmup=1, active=2)
FLOP_PER_IMAGE = 2 * 8 * 10 * 10 * 4 * 9


def profiler(*layers: str, schedule: Schedule = SCHEDULE) -> LayerProfiler:
    return LayerProfiler(layers or ["Conv2d-2"], schedule)


def test_every_epoch_gives_a_row_per_layer_and_phase_with_true_numbers(tmp_path: Path) -> None:
    train(tmp_path, profiler("Conv2d-1", "conv2"), max_epochs=2)
    rows = read_csv(tmp_path)
    assert [(row["epoch"], row["layer"], row["phase"]) for row in rows] == [
        (epoch, layer, phase)
        for epoch in ("0", "1")
        for layer in ("Conv2d-1", "Conv2d-2")
        for phase in ("forward", "backward")
    ]
    assert [row["global_step"] for row in rows] == ["4"] * 4 + ["12"] * 4
    forward, backward = rows[2], rows[3]
    assert forward["theoretical_flop"] == forward["counted_flop"] == str(8 * FLOP_PER_IMAGE)
    assert backward["theoretical_flop"] == backward["counted_flop"] == str(16 * FLOP_PER_IMAGE)
    assert rows[1]["counted_flop"] == rows[0]["counted_flop"]  # conv1: no grad_input
    assert forward["allocated_bytes"] == str(8 * 8 * 10 * 10 * 4)
    assert (forward["qualified_name"], forward["layer_type"]) == ("conv2", "Conv2d")
    assert (forward["batch_size"], forward["calls"], forward["steps"]) == ("8", "1", "2")
    assert (forward["dataset"], forward["device"], forward["dtype"]) == (
        "TensorDataset",
        "cpu",
        "float32",
    )
    assert forward["device_time_ns"] == forward["kernels"] == ""  # unknown, not 0
    rate = float(forward["theoretical_flop"]) * 1e9 / float(forward["cpu_time_ns"])
    assert float(forward["flop_per_s"]) == pytest.approx(rate)


def test_the_json_holds_every_step_and_its_rows_add_up(tmp_path: Path) -> None:
    train(tmp_path, profiler())
    document = read_json(tmp_path)
    (window,) = document["windows"]
    assert {row["step"] for row in window["steps"]} == {2, 3}
    assert [row["phase"] for row in window["steps"] if row["step"] == 2] == [
        None,
        "forward",
        "backward",
        None,
    ]
    assert [row["step"] for row in window["steps"] if row["is_optimizer"]] == [2, 3]
    assert window["calls"][0]["inputs"][0]["shape"] == [8, 4, 10, 10]
    assert document["versions"]["torch"] == torch.__version__.split("+")[0]
    assert document["layers"][0]["geometry"].startswith("Conv2d(4, 8, kernel_size=(3, 3)")
    assert window["device"]["type"] == "cpu"
    (footprint,) = window["footprints"]
    for name in ("parameter_bytes", "gradient_bytes", "optimizer_state_bytes"):
        assert footprint["measured"][name] == footprint["theoretical"][name] > 0


def test_results_are_on_disk_before_the_epoch_goes_on(tmp_path: Path) -> None:
    rows_at: dict[int, int] = {}

    class Look(Callback):
        def on_train_batch_start(self, trainer: Trainer, *arguments: Any) -> None:
            found = list(tmp_path.rglob("layer_profile.csv"))
            rows_at[arguments[-1]] = len(read_csv(tmp_path)) if found else 0
            if arguments[-1] == 4:
                assert len(read_json(tmp_path)["windows"]) == 1
                (events,) = tmp_path.rglob("events.out.tfevents.*")
                assert b"Conv2d-2/backward/counted_flop" in events.read_bytes()

    train(tmp_path, Look(), profiler())
    assert rows_at == {0: 0, 1: 0, 2: 0, 3: 0, 4: 2, 5: 2, 6: 2, 7: 2}


def test_a_short_last_batch_is_never_mixed_with_full_ones(tmp_path: Path) -> None:
    schedule = Schedule(wait=0, warmup=1, active=3)
    train(tmp_path, profiler(schedule=schedule), data=small_data(27, 8, shuffle=False))
    rows = read_csv(tmp_path)
    assert {(row["batch_size"], row["steps"]) for row in rows} == {("8", "2")}
    assert rows[0]["counted_flop"] == str(8 * FLOP_PER_IMAGE)
    (window,) = read_json(tmp_path)["windows"]
    assert window["compared_steps"] == [1, 2]
    assert {row["batch_size"] for row in window["steps"] if row["step"] == 3} == {3}


def test_a_schedule_longer_than_the_epoch_shrinks_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="epoch has 3: shrunk to wait 2, warmup 0, active 1"):
        train(tmp_path, profiler(schedule=Schedule()), limit_train_batches=3)
    assert {row["steps"] for row in read_csv(tmp_path)} == {"1"}


def test_max_steps_before_the_windows_end_shrinks_it(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="epoch has 4: shrunk to wait 0, warmup 1, active 3"):
        train(tmp_path, profiler(schedule=Schedule(wait=2, warmup=1, active=3)), max_steps=4)
    assert {row["steps"] for row in read_csv(tmp_path)} == {"3"}


def test_an_epoch_that_ends_inside_the_window_reports_what_was_recorded(tmp_path: Path) -> None:
    class Endless(IterableDataset[Any]):
        """Of a length that no one knows beforehand."""

        def __iter__(self) -> Iterator[Any]:
            yield from small_data(32).dataset

    schedule = Schedule(wait=1, warmup=1, active=6)
    train(tmp_path, profiler(schedule=schedule), data=DataLoader(Endless(), batch_size=8))
    assert {row["steps"] for row in read_csv(tmp_path)} == {"2"}


def test_a_layer_that_never_ran_says_so(tmp_path: Path) -> None:
    train(tmp_path, profiler("unused"))
    for row in read_csv(tmp_path):
        assert (row["note"], row["calls"]) == (NOT_RUN, "0")
        assert {row[name] for name in QUANTITIES} == {""}


def test_a_layer_without_theory_still_has_its_measured_half(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.eye(10))

        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft(x @ self.weight).real

    class Model(SmallCnn):
        def __init__(self) -> None:
            super().__init__()
            self.scaled = Scaled()

        def forward(self, images: Tensor) -> Tensor:
            return self.scaled(super().forward(images))

    train(tmp_path, profiler("Scaled"), model=Model)
    row = read_csv(tmp_path)[0]
    assert row["theoretical_flop"] == row["flop_ratio"] == row["counted_flop"] == ""
    assert row["note"] == (
        "no theory for Scaled; counted FLOPs unknown: no formula for aten::_fft_r2c"
    )
    assert int(row["cpu_time_ns"]) > 0


def test_a_wrong_layer_is_an_error_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(LayerSelectionError, match="Conv2d-4"):
        train(tmp_path, profiler("Conv2d-4"))
    assert not list(tmp_path.rglob("layer_profile.*"))


def test_each_pattern_is_announced_with_what_it_resolved_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, profiler("Conv2d", "fc", "all"))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Profiling")]
    assert lines == [
        "Profiling Conv2d: 3 layers (conv1, conv2, unused)",
        "Profiling fc: fc = Linear(in_features=200, out_features=10, bias=True)",
        "Profiling all: 5 layers and 1 container ((model), conv1, conv2, unused, …)",
    ]


def test_by_default_every_layer_with_parameters_has_a_row(tmp_path: Path) -> None:
    train(tmp_path, LayerProfiler(schedule=SCHEDULE))
    rows = read_csv(tmp_path)
    assert [row["qualified_name"] for row in rows[::2]] == [
        "conv1",
        "conv2",
        "unused",
        "norm",
        "fc",
    ]
    step = read_rest(tmp_path)[0]
    own = [int(row["own_cpu_time_ns"]) for row in rows if row["own_cpu_time_ns"]]
    assert int(step["own_cpu_time_ns"]) > 0
    assert len(own) == 8  # `unused` never runs


def test_without_a_logger_files_and_table_still_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in range(2):
        with pytest.warns(UserWarning, match="no logger"):
            train(tmp_path, profiler(), logger=False)
        folder = tmp_path / "lightning_profile" / f"version_{version}"
        assert len(read_csv(folder)) == 2
    assert "what it should cost, what it costs" in capsys.readouterr().out


def test_another_logger_gets_the_scalars(tmp_path: Path) -> None:
    train(tmp_path, profiler(), logger=CSVLogger(tmp_path, name="csv"))
    (metrics,) = tmp_path.rglob("metrics.csv")
    header, *_ = metrics.read_text("utf-8").splitlines()
    assert "Conv2d-2/forward/counted_flop" in header.split(",")


def test_names_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And not as the marks of the console's library for bold letters and the like."""

    class Named(SmallCnn):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleDict({"[/head]": nn.Linear(10, 10), ":warning:": nn.Identity()})

        def forward(self, images: Tensor) -> Tensor:
            hidden = super().forward(images)
            return self.heads[":warning:"](self.heads["[/head]"](hidden))

    train(tmp_path, profiler("heads.*"), model=Named)
    printed = capsys.readouterr().out
    assert "Linear-2 (heads.[/head])" in printed
    assert "Identity-1 (heads.:warning:)" in printed


def test_fast_dev_run_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="shrunk to wait 0, warmup 0, active 1"):
        train(tmp_path, profiler(), fast_dev_run=True)
    assert "GFLOP" in (out := capsys.readouterr().out) or "kFLOP" in out
    assert "No files were written" in out
    assert not list(tmp_path.rglob("layer_profile.*"))


def test_fit_called_twice_goes_on_in_the_same_files(tmp_path: Path) -> None:
    model, trainer = train(tmp_path, profiler())
    trainer.fit_loop.max_epochs = 2
    trainer.fit(model, small_data())
    assert [row["epoch"] for row in read_csv(tmp_path)] == ["0", "0", "1", "1"]
    assert [window["epoch"] for window in read_json(tmp_path)["windows"]] == [0, 1]


def test_modules_with_dictionaries_and_keywords_are_read(tmp_path: Path) -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, *, images: Tensor) -> dict[str, Any]:
            return {"out": (images * self.weight, "text")}

    class Model(SmallCnn):
        def __init__(self) -> None:
            super().__init__()
            self.picky = Picky()

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(self.picky(images=images)["out"][0])

    train(tmp_path, profiler("Picky-1"), model=Model)
    (window,) = read_json(tmp_path)["windows"]
    assert window["calls"][0]["outputs"][0]["shape"] == [8, 1, 12, 12]
    row = read_csv(tmp_path)[0]
    assert (row["counted_flop"], row["counted_elementwise_flop"]) == ("0", str(8 * 144))


def test_layers_built_in_setup_are_found(tmp_path: Path) -> None:
    class Late(SmallCnn):
        def __init__(self) -> None:
            super().__init__()
            del self.conv2

        def setup(self, stage: str) -> None:
            self.conv2 = nn.Conv2d(4, 8, 3, padding=1)

    train(tmp_path, profiler("conv2"), model=Late)
    assert read_csv(tmp_path)[0]["counted_flop"] == str(8 * FLOP_PER_IMAGE)


def test_every_logger_gets_the_scalars_and_the_files_lie_once(tmp_path: Path) -> None:
    loggers = [CSVLogger(tmp_path, name="one"), CSVLogger(tmp_path, name="two")]
    train(tmp_path, profiler(), logger=loggers)
    for metrics in sorted(tmp_path.rglob("metrics.csv")):
        assert "Conv2d-2/forward/counted_flop" in metrics.read_text("utf-8")
    assert len(list(tmp_path.rglob("metrics.csv"))) == 2
    assert len(read_csv(tmp_path)) == 2


def test_bf16_mixed_counts_its_casts_and_keeps_gradients_in_float32(tmp_path: Path) -> None:
    train(tmp_path, profiler(), precision="bf16-mixed")
    forward, backward = read_csv(tmp_path)
    assert forward["dtype"] == "bfloat16"
    assert forward["counted_flop"] == str(8 * FLOP_PER_IMAGE)
    assert backward["counted_flop"] == str(16 * FLOP_PER_IMAGE)
    assert backward["theoretical_allocated_bytes"] == str(2 * 8 * 4 * 100 + 4 * (8 * 4 * 9 + 8))
    assert backward["allocated_bytes"] == backward["theoretical_allocated_bytes"]
