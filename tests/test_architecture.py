"""The folders show the pipeline, and the imports keep to it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parent.parent / "lightning_profile"
SHARED = {
    "records",
    "version",
    "faults",
    "quoting",
    "hooks",
    "kernel_names",
}  # every stage may know
# What knows Lightning or the order of the stages.
CONDUCTORS = {
    "__init__",
    "callback",
    "compiled_step",
    "device_limits",
    "nvtx_ranges",
    "pipeline",
    "profiled_run",
    "stage_recorder",
    "step_capture",
    "trainer_facts",
}
STAGES = {
    "selection",
    "measurement",
    "counters",
    "theory",
    "attribution",
    "devices",
    "comparison",
    "report",
}
OTHERS = {
    "schedule",
    "window_limits",
    "options",
    "ranks",
    "collector",
    "drawing",
    "mnist",
    "study",
}  # not in the pipeline
# A study trains through the callback, and reads what the pipeline wrote.
STUDY_READS = {
    "callback",
    "schedule",
    "selection",
    "devices",
    "comparison",
    "report",
    "drawing",
}
STUDY = PACKAGE / "study"
STUDY_TRAINS = {"training.py", "clock.py", "run.py"}  # the files that know Lightning
ONLY_IN = {
    "matplotlib": {"figures.py", "rate_figure.py", "step_figures.py", "axes.py"},
    "jinja2": {"report.py"},
    "markdown_it": {"report.py"},
}
SCHEDULE_READERS = {"report", "options"}  # the schedule is part of what a run reports


def _stage(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported_stages(path: Path) -> set[str]:
    stages = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [node.module or ""]
            if node.module == "lightning_profile":
                names = [f"lightning_profile.{alias.name}" for alias in node.names]
        stages |= {name.split(".")[1] for name in names if name.startswith("lightning_profile.")}
    return stages


FILES = sorted(path for path in PACKAGE.rglob("*.py") if _stage(path) not in CONDUCTORS)


def run_python(program: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, **options
    )


def test_every_file_belongs_to_a_stage_that_is_known() -> None:
    found = {_stage(path) for path in PACKAGE.rglob("*.py")}
    assert found == STAGES | SHARED | CONDUCTORS | OTHERS
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} >= STAGES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_stage_imports_only_records_and_itself(path: Path) -> None:
    stage = _stage(path)
    allowed = {stage} | SHARED | ({"schedule"} if stage in SCHEDULE_READERS else set())
    if stage in ("mnist", "drawing"):
        allowed = {stage}
    if stage == "study":
        allowed |= STUDY_READS
    assert _imported_stages(path) <= allowed


def test_what_draws_needs_matplotlib_and_python_only() -> None:
    used = {name for path in (PACKAGE / "drawing").glob("*.py") for name in _packages(path)}
    # Pillow comes with matplotlib, which writes its own PNGs with it.
    assert used - sys.stdlib_module_names <= {"matplotlib", "PIL", "lightning_profile"}


def test_only_the_demo_imports_the_demo() -> None:
    assert not [
        path
        for path in PACKAGE.rglob("*.py")
        if _stage(path) != "mnist" and "mnist" in _imported_stages(path)
    ]


def test_nothing_that_a_study_is_built_on_imports_it() -> None:
    assert not [
        path
        for path in PACKAGE.rglob("*.py")
        if _stage(path) != "study" and "study" in _imported_stages(path)
    ]


def _packages(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    names = {
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    } | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def test_of_a_study_few_files_know_lightning_and_one_each_what_the_report_needs() -> None:
    packages = {path.name: _packages(path) for path in STUDY.rglob("*.py")}
    assert {n for n, used in packages.items() if "pytorch_lightning" in used} == STUDY_TRAINS
    for package, files in ONLY_IN.items():
        assert {name for name, used in packages.items() if package in used} == files


def test_a_training_of_a_study_loads_nothing_that_only_its_report_needs() -> None:
    program = (
        "import sys, torchmetrics, rich.markdown\n"  # where matplotlib is, torchmetrics loads it
        "before = set(sys.modules)\n"
        "import train\n"
        "import lightning_profile.study.training\n"
        "new = {name for name in set(sys.modules) - before}\n"
        "study = 'lightning_profile.study'\n"
        "print([name for name in new if name.startswith(('matplotlib', 'markdown_it'))\n"
        "       or name in (study + '.figures', study + '.report')])"
    )
    done = run_python(program, cwd=PACKAGE.parent)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_importing_does_nothing_and_needs_no_demo_package(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys, logging, warnings, torch, pytorch_lightning\n"
        "before = (logging.root.handlers[:], warnings.filters[:], warnings.showwarning,\n"
        "          torch.nn.Module.__call__)\n"
        "modules = set(sys.modules)\n"
        "import lightning_profile\n"
        "after = (logging.root.handlers[:], warnings.filters[:], warnings.showwarning,\n"
        "         torch.nn.Module.__call__)\n"
        "assert before == after\n"
        "new = set(sys.modules) - modules\n"
        "assert not {'sklearn', 'jsonargparse', 'torchvision'} & new, new\n"
        "assert not [name for name in sys.modules if name.startswith('lightning_profile.mnist')]\n"
        "assert not torch.cuda.is_initialized()\n"
        "assert not pathlib.Path(os.environ['XDG_CACHE_HOME'], 'lightning_profile').exists()\n"
    )
    done = run_python(program, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)})
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_what_reads_windows_is_imported_before_the_first_step_and_not_earlier(
    tmp_path: Path,
) -> None:
    program = (
        "import sys\n"
        "from pytorch_lightning import Callback\n"
        "from lightning_profile import LayerProfiler, Schedule\n"
        "from tests.conftest import train\n"
        "def ours():\n"
        "    return {name for name in sys.modules if name.startswith('lightning_profile')}\n"
        "late = ('pipeline', 'profiled_run', 'report', 'theory', 'attribution', 'comparison',\n"
        "    'measurement', 'stage_recorder')\n"
        "assert not {f'lightning_profile.{name}' for name in late} & ours(), ours()\n"
        "class Look(Callback):\n"
        "    def on_train_start(self, *_):\n"
        "        self.before = ours()\n"
        "    def on_train_end(self, *_):\n"
        "        print(sorted(ours() - self.before))\n"
        f"train({str(tmp_path)!r}, LayerProfiler('all', Schedule(wait=1)), Look())\n"
    )
    done = run_python(program, cwd=PACKAGE.parent)
    assert "\n[]\n" in done.stdout, done.stdout + done.stderr
