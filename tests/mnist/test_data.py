from __future__ import annotations

import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_profile.mnist import DataError, MnistClassifier, MnistDataModule, archives
from lightning_profile.mnist.data import normalise
from lightning_profile.mnist.digits import draw_digits
from lightning_profile.mnist.images import ImageTensors
from tests.conftest import MNIST_DIR


@pytest.fixture
def archive_copy(tmp_path: Path) -> Path:
    """The four archives, not unpacked."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in (MNIST_DIR / "MNIST" / "raw").glob("*.gz"):
        shutil.copy(archive, raw)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.mnist
@pytest.mark.usefixtures("no_network")
def test_the_archives_are_taken_from_where_they_lie(archive_copy: Path) -> None:
    data = MnistDataModule(batch_size=100, data_dir=str(archive_copy), dataset="mnist")
    data.prepare_data()
    data.setup("fit")
    assert data.dataset_name == "mnist"
    assert [
        len(loader.dataset)
        for loader in (  # type: ignore[arg-type]
            data.train_dataloader(),
            data.val_dataloader(),
            data.test_dataloader(),
        )
    ] == [55_000, 5_000, 10_000]
    images, labels = next(iter(data.val_dataloader()))
    assert (images.shape, images.dtype, labels.shape) == ((100, 28, 28), torch.uint8, (100,))
    everything = data.train_dataloader().dataset.images  # type: ignore[attr-defined]
    pixels = normalise(everything)
    assert abs(float(pixels.mean())) < 0.01
    assert abs(float(pixels.std()) - 1) < 0.01


@pytest.mark.mnist
@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_a_wrong_checksum_is_an_error_and_nothing_is_touched(
    archive_copy: Path, dataset: Any
) -> None:
    broken = archive_copy / "MNIST/raw/t10k-images-idx3-ubyte.gz"
    broken.write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz has a wrong checksum"):
        MnistDataModule(data_dir=str(archive_copy), dataset=dataset).prepare_data()
    assert broken.read_bytes() == b"not an archive"


@pytest.mark.mnist
def test_a_damaged_unpacked_file_is_an_error(archive_copy: Path) -> None:
    data = MnistDataModule(data_dir=str(archive_copy))
    data.prepare_data()
    unpacked = archive_copy / "MNIST/raw/train-images-idx3-ubyte"
    unpacked.write_bytes(unpacked.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"unpacked files .* are damaged"):
        data.setup("fit")


@pytest.mark.usefixtures("no_network")
def test_without_a_network_the_digits_are_used_and_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = MnistDataModule(data_dir=str(tmp_path))
    data.prepare_data()
    data.setup("fit")
    assert data.dataset_name == "digits"
    (line,) = capsys.readouterr().out.splitlines()
    assert "no mirror answers: training on scikit-learn's handwritten digits" in line
    with pytest.raises(DataError, match="use --dataset digits"):
        MnistDataModule(data_dir=str(tmp_path), dataset="mnist").prepare_data()


def test_a_network_that_hangs_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is the program's own, so it is measured on a clock; the margin is generous."""
    is_over = threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        is_over.wait(60)
        raise OSError("the name server did not answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(DataError, match="no mirror answers"):
        MnistDataModule(data_dir=str(tmp_path), dataset="mnist").prepare_data()
    seconds = time.monotonic() - start
    is_over.set()
    assert seconds < 15


def test_a_download_that_breaks_off_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(root: str, **_: Any) -> None:
        raw = Path(root) / "MNIST/raw"
        raw.mkdir(parents=True)
        (raw / "train-images-idx3-ubyte.gz").write_bytes(b"half of")
        raise RuntimeError("Error downloading")

    break_off.resources = archives.MNIST.resources  # type: ignore[attr-defined]
    monkeypatch.setattr(archives, "_require_mirror", lambda: None)
    monkeypatch.setattr(archives, "MNIST", break_off)
    with pytest.raises(archives.MnistUnavailableError, match="download failed"):
        archives.provide(tmp_path)
    assert not list(tmp_path.rglob("*.gz"))


def test_a_batch_must_have_images_and_not_more_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MnistDataModule(batch_size=0)
    with pytest.raises(DataError, match=r"60000 is larger than the training data \(55000"):
        MnistDataModule(batch_size=60_000, data_dir=str(tmp_path)).prepare_data()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for dataset in ("auto", "mnist"):
        module = MnistDataModule(data_dir=str(tmp_path / "file" / "data"), dataset=dataset)
        with pytest.raises(DataError):
            _with_a_mirror(module)


def _with_a_mirror(module: MnistDataModule) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "_require_mirror", lambda: None)
        module.prepare_data()


def test_digits_are_the_same_every_time_and_look_like_mnist() -> None:
    first, second = draw_digits("val", 300), draw_digits("val", 300)
    assert torch.equal(first.images, second.images)
    assert (first.images.shape, first.images.dtype) == ((300, 28, 28), torch.uint8)
    assert set(first.labels.tolist()) == set(range(10))
    assert int(first.images.max()) > 200
    assert not torch.equal(first.images, draw_digits("test", 300).images)


def test_a_batch_is_fetched_by_one_indexing() -> None:
    images = torch.arange(5 * 28 * 28, dtype=torch.uint8).view(5, 28, 28)
    data = ImageTensors(images, torch.arange(5), "name")
    batch, labels = data.__getitems__([4, 0])
    assert torch.equal(batch, images[[4, 0]])
    assert labels.tolist() == [4, 0]
    assert data[1][1] == 1
    assert (len(data.part(1, 4)), data.part(1, 4).name) == (3, "name")


def test_the_network_is_pytorchs_basic_mnist_cnn() -> None:
    model = MnistClassifier()
    shapes: list[tuple[int, ...]] = []
    model.conv2.register_forward_hook(
        lambda _, args, out: shapes.extend([tuple(args[0].shape), tuple(out.shape)])
    )
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert shapes == [(2, 32, 26, 26), (2, 64, 24, 24)]
    assert sum(p.numel() for p in model.conv2.parameters()) == 18_496
    assert sum(p.numel() for p in model.parameters()) == 1_199_882
