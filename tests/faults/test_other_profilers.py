"""Another profiler keeps all that is its own, and ours says which windows it skipped."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.profilers import PyTorchProfiler
from torch import Tensor
from torch.autograd import profiler as autograd_profiler
from torch.profiler import ProfilerAction, ProfilerActivity, profile, schedule

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.measurement import OtherProfilers, is_profiler_running
from tests.conftest import SmallCnn, ValidatedCnn, read_csv, train

# Said by torch before 2.14 of every profile, whoever's it is.
pytestmark = pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")

SCHEDULE = Schedule(wait=3, warmup=1, active=1)  # of 8 steps: on in steps 3 and 4
CPU = [ProfilerActivity.CPU]


def profiler() -> LayerProfiler:
    return LayerProfiler("Conv2d-2", SCHEDULE)


@pytest.fixture(autouse=True)
def _no_profiler_stays_behind() -> Iterator[None]:
    yield
    gc.collect()  # they have reference cycles


def convolutions(finished: Any) -> int:
    """How many convolutions a profiler has seen."""
    return sum(each.count for each in finished.key_averages() if each.key == "aten::conv2d")


def ours_among(warned: Any) -> list[str]:
    return [text for each in warned if "layer profile" in (text := str(each.message))]


class Theirs(Callback):
    """A user's profiler from the start of step ``first`` to the end of step ``last``."""

    def __init__(
        self,
        make: Callable[[], Any],
        first: int,
        last: int,
        count: Callable[[Any], int] = convolutions,
    ) -> None:
        self.make, self.first, self.last, self.count = make, first, last, count
        self.seen: list[int] = []
        self.session: Any = None

    def on_train_batch_start(self, trainer: Trainer, *arguments: Any) -> None:
        if arguments[-1] == self.first:
            self.session = self.make()
            self.session.__enter__()

    def on_train_batch_end(self, trainer: Trainer, *arguments: Any) -> None:
        if arguments[-1] == self.last:
            self.session.__exit__(None, None, None)
            self.seen.append(self.count(self.session))
            self.session = None


def test_one_around_the_training_means_no_window_and_one_warning(tmp_path: Path) -> None:
    with (
        profile(activities=CPU) as outer,
        pytest.warns(UserWarning, match=r"^torch.profiler is recording") as warned,
    ):
        train(tmp_path, profiler(), max_epochs=2)
    assert len(ours_among(warned)) == 1
    assert convolutions(outer) == 2 * 8 * 2
    assert not list(tmp_path.rglob("layer_profile.csv"))


def test_of_two_of_ours_the_second_says_what_is_in_its_way(tmp_path: Path) -> None:
    first, second = profiler(), LayerProfiler("Linear-1", SCHEDULE)
    with pytest.warns(UserWarning, match="another LayerProfiler") as warned:
        train(tmp_path, first, second, max_epochs=2)
    folder, window = ours_among(warned)
    assert "another LayerProfiler of this one, is writing to" in folder
    assert window.startswith("another LayerProfiler (name all layers in one of them) is recording")
    rows = read_csv(tmp_path)
    assert {(row["layer"], row["epoch"]) for row in rows} == {("Conv2d-2", "0"), ("Conv2d-2", "1")}


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize(
    ("first", "last", "is_kept"),
    [
        (0, 2, True),
        (1, 3, False),  # on when ours would begin
        (3, 3, False),  # comes and goes in our warm-up, or just before
        (3, 6, False),  # comes in our warm-up, or just before
        (4, 4, False),  # comes and goes in our recorded step
        (4, 6, False),  # goes on after our window
        (5, 6, True),
    ],
)
def test_one_that_comes_meanwhile_sees_all_that_it_would_have_seen(
    tmp_path: Path, ours_first: bool, first: int, last: int, is_kept: bool
) -> None:
    theirs = Theirs(lambda: profile(activities=CPU), first, last)
    callbacks = [profiler(), theirs] if ours_first else [theirs, profiler()]
    if is_kept:
        train(tmp_path, *callbacks, max_epochs=2)
        assert {row["epoch"] for row in read_csv(tmp_path)} == {"0", "1"}
    else:
        with pytest.warns(UserWarning, match=r"torch\.profiler (is|was)") as warned:
            train(tmp_path, *callbacks, max_epochs=2)
        assert len(ours_among(warned)) == 1
        assert not list(tmp_path.rglob("layer_profile.csv"))
    assert theirs.seen == [2 * (last - first + 1)] * 2
    assert not is_profiler_running()


@pytest.mark.parametrize("wait", range(7))
@pytest.mark.parametrize("is_known", [True, False])
def test_one_with_a_schedule_keeps_every_cycle(tmp_path: Path, wait: int, is_known: bool) -> None:
    seen: list[int] = []
    plan = schedule(wait=wait, warmup=1, active=1, repeat=1)

    class Stepping(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            theirs.step()

    def ready(finished: Any) -> None:
        seen.append(convolutions(finished))

    def someones(step: int) -> ProfilerAction:
        return plan(step)

    in_the_way = not is_known or wait in (2, 3, 4, 5)  # one step of grace on either side
    with profile(
        activities=CPU, schedule=plan if is_known else someones, on_trace_ready=ready
    ) as theirs:
        if in_the_way:
            with pytest.warns(UserWarning, match=r"^torch.profiler is recording or about to"):
                train(tmp_path, profiler(), Stepping())
        else:
            train(tmp_path, profiler(), Stepping())
    assert seen == [2]
    assert bool(list(tmp_path.rglob("layer_profile.csv"))) == (not in_the_way)


def test_one_that_has_finished_is_not_in_the_way(tmp_path: Path) -> None:
    with profile(activities=CPU) as finished:
        torch.ones(1)
    with profile(activities=CPU, schedule=schedule(wait=0, warmup=1, active=1, repeat=1)) as cycled:
        cycled.step()
        cycled.step()
    train(tmp_path, profiler())
    assert len(read_csv(tmp_path)) == 2
    assert finished.events()


@pytest.mark.parametrize("first", [1, 4])
def test_autograds_own_profiler_is_left_alone_too(tmp_path: Path, first: int) -> None:
    theirs = Theirs(lambda: autograd_profiler.profile(use_cpu=True, use_kineto=True), first, 6)
    with pytest.warns(UserWarning, match="no layer profile"):
        train(tmp_path, theirs, profiler())
    assert theirs.seen == [2 * (7 - first)]


@pytest.mark.parametrize("wait", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("stages", ["train", ["train", "validate"]])
def test_lightnings_own_profiler_in_each_of_its_phases(
    tmp_path: Path, wait: int, stages: str | list[str]
) -> None:
    """It records one cycle in each stage; the windows that it leaves free are ours."""
    plan = schedule(wait=wait, warmup=1, active=2)

    def fit(folder: Path, *callbacks: Any) -> list[int]:
        """What Lightning's profiler has seen in each of its cycles."""
        seen: list[int] = []
        theirs = PyTorchProfiler(
            dirpath=folder,
            filename="theirs",
            schedule=plan,
            on_trace_ready=lambda finished: seen.append(convolutions(finished)),
        )
        _, trainer = train(
            folder, *callbacks, model=ValidatedCnn, profiler=theirs, max_epochs=2,
            num_sanity_val_steps=0,
        )  # fmt: skip
        assert trainer.global_step == 16
        return seen

    alone = fit(tmp_path / "alone")
    gc.collect()
    ours = LayerProfiler("Conv2d-2", SCHEDULE, stages=stages)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        together = fit(tmp_path / "together", ours)
    said = ours_among(warned)
    assert {text.partition(" is ")[0] for text in said} <= {"Lightning's PyTorchProfiler"}
    in_the_way = wait > 0  # it warms up or records in step 3 or 4, which are ours
    assert len(said) == (0 if not in_the_way else 1 if stages == "train" else 2)
    assert together == alone != []
    rows = read_csv(tmp_path / "together")
    for stage in {"train"} | set(stages if isinstance(stages, list) else ()):
        epochs = {row["epoch"] for row in rows if row["stage"] == stage}
        assert epochs == ({"1"} if in_the_way else {"0", "1"})
    for row in rows:
        if row["stage"] == "train":
            assert row["counted_flop"] == row["theoretical_flop"] != ""


def test_lightnings_profiler_with_its_defaults(tmp_path: Path) -> None:
    seen: list[int] = []
    theirs = PyTorchProfiler(
        dirpath=tmp_path,
        filename="theirs",
        on_trace_ready=lambda finished: seen.append(convolutions(finished)),
    )
    with pytest.warns(UserWarning, match="Lightning's PyTorchProfiler") as warned:
        train(tmp_path, profiler(), profiler=theirs, max_epochs=2)
    assert len(ours_among(warned)) == 1
    assert seen == [2 * 3]
    assert {row["epoch"] for row in read_csv(tmp_path)} == {"1"}


def test_the_other_one_is_looked_for_without_touching_foreign_objects(tmp_path: Path) -> None:
    class Suspicious:
        @property  # type: ignore[misc]
        def __class__(self) -> type:
            raise AssertionError("looked at")

    kept = Suspicious()
    with profile(activities=CPU), pytest.warns(UserWarning, match="torch.profiler"):
        train(tmp_path, profiler())
    assert type(kept) is Suspicious


def test_one_of_a_class_of_the_users_own_is_found_before_it_records() -> None:
    class Theirs(profile):
        pass

    class Derived(Theirs):
        pass

    soon = schedule(wait=1, warmup=1, active=1)
    with Derived(activities=CPU, schedule=soon) as theirs:
        theirs.step()  # counted, so that it is looked for; now it warms up
        assert OtherProfilers().in_the_way(1, "training_step") == "torch.profiler"


def test_an_interrupted_look_leaves_nothing(tmp_path: Path) -> None:
    class Stopping(SmallCnn):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if batch_idx == 4:
                raise KeyboardInterrupt
            return super().training_step(batch, batch_idx)

    model: LightningModule = Stopping()
    with pytest.raises(SystemExit):
        train(tmp_path, profiler(), model=lambda: model)
    assert not is_profiler_running()
    assert not model.conv2._forward_hooks
