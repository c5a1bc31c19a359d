"""Whatever stands on the command line or in a configuration: it trains, or a line says why not."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_profile.mnist import MnistClassifier
from tests.test_train import ROOT, TINY, train

FUZZED = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff\xfe")
    # Python's own warning settings: those of jsonargparse for its own authors are silent.
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def run(*arguments: str) -> tuple[int | None, str]:
    """Status, ``None`` if it came as far as the training, and what was written to stderr."""
    errors = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        patch.setattr(sys, "argv", ["train.py", *arguments])
        try:
            train.main()
        except SystemExit as stopped:
            return int(stopped.code or 0), errors.getvalue()
    return None, errors.getvalue()


def assert_one_line(status: int | None, errors: str, *words: str) -> None:
    assert status in (1, 2), errors
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    assert len(line) < 600, line
    for word in words:
        assert word in line


MISTAKES = [
    (["--batch_size", "9" * 30], "is larger than the training data"),
    (["--batch_size", "null"], "batch_size must be int, not 'None'"),
    (["--trainer.precision", "half"], "trainer.precision must be one of [64, 32, 16], or one of"),
    (["--trainer.precision", "transformer-engine"], "transformer_engine"),
    (["--trainer.max_epochs", "-3"], "`max_epochs` must be a non-negative integer or -1"),
    (["--trainer.max_epochs", "few"], "trainer.max_epochs must be int, or null, not 'few'"),
    (["--trainer.accelerator", "tpu"], "torch_xla"),
    (["--trainer.accelerator", "abacus"], "invalid accelerator name"),
    (["--trainer.accelerator", "cpu", "--trainer.devices", "0"], "devices"),
    (["--trainer.accelerator", "cpu", "--trainer.devices", "1.5"], "devices"),
    (["--trainer.limit_train_batches", "1.5"], "limit_train_batches"),
    (["--trainer.limit_train_batches", "0.000001"], "limit_train_batches"),
    (["--trainer.accumulate_grad_batches", "0"], "accumulate_grad_batches must be more than 0"),
    (["--trainer.check_val_every_n_epoch", "0"], "check_val_every_n_epoch must be more than 0"),
    (["--trainer.val_check_interval", "0"], "val_check_interval must be more than 0"),
    (["--trainer.val_check_interval", "9999999"], "val_check_interval"),
    (["--trainer.profiler", "mine"], "profiler"),
    (["--trainer.max_time", "soon"], "is not a valid duration"),
    (["--trainer.callbacks", "[mine]"], "trainer.callbacks"),
    (["--trainer.logger", "nowhere.Logger"], "trainer.logger"),
    (["--trainer.default_root_dir", "a_file/x"], "can't write to the log folder a_file/x"),
    (["--model.learning_rate", "-1"], "learning_rate must be a number from 0 on, not -1.0"),
    (["--model.learning_rate", "1e300"], "learning_rate must be a number from 0 on"),
    (["--data_dir", "a_file/x", "--dataset", "mnist"], "MNIST is not in a_file/x/MNIST/raw"),
    (["--seed_everything", "-5"], "-5 is not in bounds"),
    (["--layers", "x" * 100_000], "no layer is called 'xxxx"),
    (["--layers", "Conv2d-[9]"], "no layer is called 'Conv2d-[9]'"),
    (["--layers", ""], "no layer is called ''"),
    (["--nonsense", "y" * 100_000], "unrecognized arguments: --nonsense yyy"),
    (["--config", ""], "a configuration holds options by name"),
    (["--config", "empty.yaml"], "a configuration holds options by name"),
    (["--config", "bytes.yaml"], "codec can't decode"),
    (["--config", "."], "not a file"),
]


@pytest.mark.filterwarnings("ignore:.*GPU available but not used")
@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda value: str(value)[:50])
def test_a_mistake_is_one_line(arguments: list[str], words: str) -> None:
    without = {argument.split("=")[0] for argument in arguments}
    tiny = [each for each in TINY if each.split("=")[0] not in without]
    assert_one_line(*run(*tiny, *arguments), words)


CONFIGURATIONS = [
    ("- 1\n- 2\n", "a configuration holds options by name"),
    ("3", "a configuration holds options by name"),
    ("a: [1", "Problems parsing config"),
    ("a:\n\t- b", "Problems parsing config"),
    ("a: \x01", "Problems parsing config"),
    ("a: &a [*a]\n", "the options can't be read"),  # a list that contains itself
    ("config: false\n", "the options can't be read"),
    ("a: !!python/object/apply:os.getcwd []\n", "Problems parsing config"),
    ("nonsense: 3\n", "Option 'nonsense' is not accepted"),
    ("trainer:\n  nonsense: 3\n", "Group 'trainer' does not accept option 'nonsense'"),
    ("trainer: null\n", "trainer must hold options by name, not None"),
    ("trainer: [1]\n", "trainer must hold options by name, not [1]"),
    ("schedule: 3\n", "schedule must hold options by name, not 3"),
    ("schedule: null\n", "schedule must hold options by name, not None"),
    ("model: null\n", "model must hold options by name, not None"),
    ("batch_size: [1, 2]\n", "batch_size must be int, not '[1, 2]'"),
    ("layers: []\n", "no layer to profile was named"),
    ("layers: [1, null]\n", "by a string or by a class of modules, not by 1"),
    ("layers: {a: 1}\n", "no layer is called 'a'"),
    ("trainer:\n  logger: 3\n", "trainer.logger"),
]


@pytest.mark.parametrize(("text", "words"), CONFIGURATIONS)
def test_a_mistake_in_a_configuration_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "given.yaml").write_text(text, "utf-8")
    assert_one_line(*run("--config", "given.yaml"), words)


@pytest.fixture
def _never_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training itself is not what is looked at: it ends before its data are loaded."""
    monkeypatch.setattr(train, "_require_writable", stop)


def stop(_: str) -> None:
    raise SystemExit(0)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
values = st.one_of(
    words,
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["null", "true", "[]", "{}", "[1]", "{a: 1}", "a_file", "*", "~", "", "--", "="]
    ),
)
options = st.sampled_from(
    [
        *("batch_size", "layers", "dataset", "data_dir", "log_dir", "profile", "config"),
        *(
            "schedule.wait",
            "schedule.active",
            "schedule.max_share",
            "schedule",
            "seed_everything",
            "model",
            "data",
        ),
        *("trainer.max_epochs", "trainer.precision", "trainer.devices", "trainer.logger"),
        *("trainer.limit_train_batches", "trainer.val_check_interval", "trainer.callbacks"),
        *("trainer.accelerator", "trainer.strategy", "model.learning_rate", "trainer"),
    ]
)


@pytest.mark.usefixtures("_never_trained")
@FUZZED
@given(st.lists(st.tuples(options, values), max_size=3), st.lists(values, max_size=1))
def test_any_command_line(pairs: list[tuple[str, str]], stray: list[str]) -> None:
    status, errors = run(*(part for name, value in pairs for part in (f"--{name}", value)), *stray)
    if status != 0:
        assert_one_line(status, errors)


contents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(words, inside, max_size=2),
    max_leaves=4,
)
mappings: Any = st.dictionaries(options.map(lambda name: name.split(".")[0]), contents, max_size=3)


@pytest.mark.usefixtures("_never_trained")
@FUZZED
@given(mappings.map(lambda value: yaml.safe_dump(value, allow_unicode=True)) | words)
def test_any_configuration(text: str) -> None:
    Path("given.yaml").write_text(text, "utf-8")
    status, errors = run("--config", "given.yaml")
    if status != 0:
        assert_one_line(status, errors)


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "64-true", "bf16-mixed"])
def test_each_precision_trains(precision: str) -> None:
    status, errors = run(*TINY, "--trainer.accelerator=cpu", f"--trainer.precision={precision}")
    assert (status, errors) == (None, "")


@pytest.mark.parametrize("option", ["--trainer.limit_test_batches=0", "--trainer.max_epochs=0"])
def test_a_run_without_test_or_training_ends_well(option: str) -> None:
    status, errors = run(*TINY, option)
    assert status is None
    assert "Traceback" not in errors
    assert ("ended before a window opened" in errors) == (option == "--trainer.max_epochs=0")


@pytest.mark.parametrize("learning_rate", [-1.0, 1e300, float("inf"), float("nan")])
def test_a_learning_rate_that_cannot_be_one_is_refused(learning_rate: float) -> None:
    with pytest.raises(ValueError, match="learning_rate must be a number from 0 on, not"):
        MnistClassifier(learning_rate)


@pytest.mark.parametrize("text", ["trainer: null\n", "a: &a [*a]\n"])
def test_a_process_has_no_traceback(tmp_path: Path, text: str) -> None:
    (tmp_path / "given.yaml").write_text(text, "utf-8")
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--config", "given.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert_one_line(done.returncode, done.stderr)
    assert done.stdout == ""
