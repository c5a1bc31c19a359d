"""TensorBoard as a user starts it, for as long as a test needs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ADDRESS = re.compile(r"at (http://localhost:\d+)/")
_SECONDS = 60.0


@contextmanager
def tensorboard(logs: Path) -> Iterator[str]:
    """Where a TensorBoard of ``logs`` is, on a port that was free; it ends with the block."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tensorboard.main", "--logdir", str(logs)),
            *("--port", "0", "--reload_interval", "1"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = []
    address = None
    for line in process.stderr:
        said.append(line)
        if address := _ADDRESS.search(line):
            break
    # What it says later is read as well, or a full pipe would stop it.
    reader = threading.Thread(target=process.stderr.read, daemon=True)
    reader.start()
    try:
        assert address is not None, "".join(said)
        yield address[1]
    finally:
        process.terminate()
        process.wait(timeout=_SECONDS)
        reader.join(timeout=_SECONDS)
        process.stderr.close()


def fetch(address: str, route: str, **query: str) -> Any:
    """What TensorBoard answers; ``None`` if it has nothing there."""
    url = f"{address}/data/{route}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)
    except urllib.error.HTTPError:
        return None


def wait_for(found: Callable[[], Any]) -> Any:
    """What ``found`` returns once it is true, such as when TensorBoard has read the logs."""
    deadline = time.monotonic() + _SECONDS
    while not (value := found()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
    return value
