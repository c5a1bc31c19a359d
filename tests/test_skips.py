"""Nothing skips silently on CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = {
    "needs an NVIDIA GPU": "def test_it(): pytest.skip('needs an NVIDIA GPU')",
    "needs Chromium": "def test_it(): pytest.skip('needs Chromium')",
    "a mark": "@pytest.mark.skip(reason='not today')\ndef test_it(): pass",
    "a module": "pytest.skip('not today', allow_module_level=True)",
}


@pytest.mark.parametrize(
    ("name", "ci", "passes"),
    [
        ("needs an NVIDIA GPU", "true", True),
        ("needs Chromium", "true", False),
        ("a mark", "true", False),
        ("a module", "true", False),
        ("needs Chromium", "", True),
        ("a module", "", True),
    ],
)
def test_only_missing_devices_excuse_a_skip_on_ci(
    tmp_path: Path, name: str, ci: str, passes: bool
) -> None:
    (tmp_path / "test_it.py").write_text(f"import pytest\n{TESTS[name]}\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.skips", "test_it.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("failed" in done.stdout or "error" in done.stdout) is not passes, done.stdout
    assert (done.returncode in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}) is passes
