"""What the demo's program says on the console: only what can be acted on, mistakes in one line."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from typing import NoReturn, TextIO

# Lightning's remarks that a reader of this program can't act on, and why.
_REMARKS = (
    ".*does not have many workers.*",  # the images are in memory
    ".*smaller than the logging interval.*",  # short runs are meant
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*GPU available but not used.*",  # the accelerator was named
    ".*You are using a CUDA device.*Tensor Cores.*",
    ".*LightningCLI's args parameter.*",  # a study's trainings are told theirs
    ".*isinstance\\(treespec, LeafSpec\\).*",  # between Lightning and torch
)

_LONGEST_MESSAGE = 500


def quieten() -> None:
    """Nothing on the console but progress, results, and warnings that can be acted on."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for remark in _REMARKS:
        warnings.filterwarnings("ignore", message=remark)
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {message}", file=file or sys.stderr)


def fail(error: BaseException, *, status: int) -> NoReturn:
    """End the program with one line that says what is wrong.

    Args:
        error: What was raised.
        status: The program's.
    """
    print(f"error: {_in_words(error)}", file=sys.stderr)
    sys.exit(status)


def _in_words(error: BaseException) -> str:
    """One line; jsonargparse's lists of Python types in fewer words."""
    text = " ".join(str(error).split())
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text).replace("typing.Literal", "one of ")
    if found := re.fullmatch(r"Unexpected config: ?(.*)", text):
        text = f"a configuration holds options by name, such as batch_size: 64, not {found[1]!r}"
    elif found := re.fullmatch(
        r'Parser key "([\w.]+)": Expected an? (.*)\. Got value: ?(.*)', text
    ):
        text = f"{found[1]} must be {found[2]}, not {found[3]!r}"
    elif "class_path" not in text and (
        found := re.fullmatch(
            r'Parser key "([\w.]+)": .*Subtypes: \[(.*)\] Errors: .* Given value: (.*)', text
        )
    ):
        text = f"{found[1]} must be {', or '.join(_alternatives(found[2]))}, not {found[3]!r}"
    if len(text) > _LONGEST_MESSAGE:
        half = _LONGEST_MESSAGE // 2
        text = f"{text[:half]} … {text[-half:]}"
    return text


def _alternatives(types: str) -> list[str]:
    """The parts of a list of types that has lists inside of it."""
    return [each.replace("NoneType", "null") for each in re.split(r", (?![^\[]*\])", types)]
