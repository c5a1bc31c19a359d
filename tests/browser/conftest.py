"""A browser before TensorBoard, before the logs of real trainings and of a real study."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_profile import Schedule
from lightning_profile.devices import cache, measure_ceilings
from lightning_profile.study import in_this_process, run_study
from tests.conftest import SmallCnn, small_data
from tests.tensorboard_server import fetch, tensorboard, wait_for
from tests.test_train import run
from tests.trainings.test_ddp import train_together

TRAINING = [
    "--dataset=digits",
    "--batch_size=8",
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=12",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trace=true",
]
RUN, STUDY = "mnist/version_0", "batch_size_study/version_0"
BATCH_SIZES = [4, 8, 16]
EPOCHS_TOGETHER = 3
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_SIZE = {"width": 1400, "height": 2000}
_TIMEOUT_MS = 30_000


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window; where it is missing the tests skip, before anything is trained."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip("needs Chromium, such as Debian's package chromium")
    if find_spec("playwright") is None:
        pytest.skip("needs the package playwright")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (it may be missing)

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def address(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """TensorBoard on the logs of a training and of a study."""
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        _remember_high_ceilings()
        done = run(folder, *TRAINING)
    assert done.returncode == 0, done.stderr
    run_study(
        SmallCnn,
        _data,
        BATCH_SIZES,
        layers="conv2",
        schedule=Schedule(wait=2, warmup=0, active=3),
        trainer_options={"accelerator": "cpu"},
        folder=folder / "logs" / "batch_size_study",
        run_point=in_this_process,
    )
    with tensorboard(folder / "logs") as found:
        wait_for(lambda: "test/accuracy" in fetch(found, "plugin/scalars/tags").get(RUN, ()))
        wait_for(lambda: STUDY in fetch(found, "plugin/images/tags"))
        yield found


def _remember_high_ceilings() -> None:
    """Ceilings that no layer exceeds, so that rooflines are shown however busy the machine is."""
    device, threads = torch.device("cpu"), torch.get_num_threads()
    torch.set_num_threads(2)  # as the training has
    reached = measure_ceilings(device)
    assert reached.bytes_per_s is not None
    ceilings = replace(
        reached,
        flop_per_s={
            kind: 10 * rate for kind, rate in reached.flop_per_s.items() if rate is not None
        },
        bytes_per_s=10 * reached.bytes_per_s,
    )
    key = cache._key(device)
    cache._write(cache._path(cache._name(key)), key, ceilings)
    torch.set_num_threads(threads)


def _data(batch_size: int) -> Any:
    return small_data(samples=20 * batch_size, batch_size=batch_size)


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go."""
    kept = request.config.getoption("screenshots")
    folder = tmp_path_factory.mktemp("screenshots") if kept is None else Path(kept)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def address_of_two_processes(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """TensorBoard on the logs of a training of two processes, the second of which straggles."""
    folder = tmp_path_factory.mktemp("processes")
    train_together(folder, "all", "cpu", str(EPOCHS_TOGETHER))
    (run,) = (folder / "runs").iterdir()
    with tensorboard(folder) as found:
        wait_for(lambda: f"runs/{run.name}" in (fetch(found, "plugin/scalars/tags") or ()))
        wait_for(lambda: fetch(found, "plugin/custom_scalars/layout"))
        yield found


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_tab(
    theme: str, browser: Any, address: str, screenshots: Path
) -> Iterator[Callable[[str], Any]]:
    """Opens one of TensorBoard's tabs as a link to it would; what it shows is kept as an image."""
    with _tabs(browser, address, theme, screenshots) as open_it:
        yield open_it


@pytest.fixture
def open_tab_of_two_processes(
    theme: str, browser: Any, address_of_two_processes: str, screenshots: Path
) -> Iterator[Callable[[str], Any]]:
    """The same of the training of two processes."""
    with _tabs(browser, address_of_two_processes, theme, screenshots / "processes") as open_it:
        yield open_it


@contextmanager
def _tabs(
    browser: Any, address: str, theme: str, screenshots: Path
) -> Iterator[Callable[[str], Any]]:
    page = browser.new_page(viewport=_SIZE)
    page.set_default_timeout(_TIMEOUT_MS)
    page.route(lambda url: not url.startswith(f"{address}/"), lambda route: route.abort())
    opened = []

    def open_it(tab: str) -> Any:
        opened.append(tab)
        page.goto(f"{address}/?darkMode={str(theme == 'dark').lower()}#{tab}")
        page.locator("body.dark-mode" if theme == "dark" else "body:not(.dark-mode)").wait_for()
        return page

    yield open_it
    for tab in opened:
        page.screenshot(path=screenshots / f"{tab}_{theme}.png")
    page.close()
