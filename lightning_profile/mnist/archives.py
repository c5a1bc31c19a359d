"""MNIST's archives: found, verified, downloaded where that is possible."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from torchvision.datasets import MNIST
from torchvision.datasets.utils import check_md5

_CONNECT_TIMEOUT_S = 4.0
_PROBE_TIMEOUT_S = 6.0  # for all mirrors together, name look-up included


class DamagedArchiveError(Exception):
    """An archive or what was unpacked from it is not what it should be."""


class MnistUnavailableError(Exception):
    """MNIST is neither on disk nor can it be downloaded."""


def provide(data_dir: Path) -> None:
    """Make sure that MNIST lies unpacked in ``data_dir``.

    Args:
        data_dir: Has or gets the archives in ``MNIST/raw``, as torchvision lays them out.

    Raises:
        DamagedArchiveError: If an archive that lies there has a wrong checksum.
        MnistUnavailableError: If archives are missing and no mirror answers.
        OSError: If the folder can't be written.
    """
    missing = _missing_archives(data_dir)
    if missing and not is_unpacked(data_dir):
        _require_mirror()
    try:
        with _silence(), _socket_timeout(_CONNECT_TIMEOUT_S):
            MNIST(str(data_dir), download=True)
    except BaseException as error:
        _remove_unfinished(missing)
        if isinstance(error, RuntimeError):  # torchvision's word for a failed download
            raise MnistUnavailableError("the download failed") from error
        raise


def is_unpacked(data_dir: Path) -> bool:
    """Whether the four unpacked files are there."""
    return all((_raw(data_dir) / name.removesuffix(".gz")).is_file() for name, _ in MNIST.resources)


def load(data_dir: Path, *, train: bool) -> MNIST:
    """The unpacked training or test images.

    Raises:
        DamagedArchiveError: If an unpacked file can't be read.
    """
    try:
        return MNIST(str(data_dir), train=train, download=False)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise DamagedArchiveError(
            f"the unpacked files in {_raw(data_dir)} are damaged; delete them to unpack or "
            "download again"
        ) from error


def _raw(data_dir: Path) -> Path:
    return data_dir / "MNIST" / "raw"


def _missing_archives(data_dir: Path) -> list[Path]:
    missing = []
    for name, md5 in MNIST.resources:
        archive = _raw(data_dir) / name
        if not archive.exists():
            missing.append(archive)
        elif not check_md5(archive, md5):
            raise DamagedArchiveError(
                f"{archive} has a wrong checksum (MD5 is not {md5}); delete it to download again"
            )
    return missing


def _require_mirror() -> None:
    """Ask the mirrors, giving up in time even where a name look-up hangs."""
    answered = threading.Event()

    def ask() -> None:
        for mirror in MNIST.mirrors:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(
                    urllib.request.Request(mirror + MNIST.resources[-1][0], method="HEAD"),
                    timeout=_CONNECT_TIMEOUT_S,
                ).close()
                answered.set()
                return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PROBE_TIMEOUT_S)
    if not answered.is_set():
        raise MnistUnavailableError("no mirror answers")


def _remove_unfinished(archives: list[Path]) -> None:
    """Delete what an ended download left behind, so that the next run starts clean."""
    md5s = dict(MNIST.resources)
    for archive in archives:
        if archive.exists() and not check_md5(archive, md5s[archive.name]):
            archive.unlink()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """torchvision prints each mirror it tries."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torchvision downloads without a time limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
