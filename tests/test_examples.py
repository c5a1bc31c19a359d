"""The programs in ``examples/`` as a user runs them, and their numbers computed by hand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import read_csv

ROOT = Path(__file__).parent.parent
REMARKS = ("Seed set to", "GPU available", "TPU available", "💡 Tip", "`Trainer.fit` stopped")

Rows = Mapping[tuple[str, str], Mapping[str, str]]


def run(folder: Path, name: str, **options: int) -> tuple[str, Rows]:
    """Run an example for one epoch; what it printed, and its profile by layer and phase."""
    arguments = [f"--{option}={value}" for option, value in options.items()]
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--epochs=1", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "utf-8",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        },
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    unexpected = [line for line in done.stderr.splitlines() if not line.startswith(REMARKS)]
    assert not unexpected
    assert "warning" not in done.stdout.lower()
    rows = read_csv(folder / "logs" / name)
    return done.stdout, {(row["qualified_name"], row["phase"]): row for row in rows}


def flop(row: Mapping[str, str], kind: str = "theoretical") -> int:
    return int(row[f"{kind}_flop"])


def test_resnet(tmp_path: Path) -> None:
    printed, rows = run(tmp_path, "resnet", steps=14, batch_size=4)

    assert re.search(r"Accuracy on new images: \d+\.\d%", printed)
    blocks = [f"net.layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    convolutions = [f"net.layer4.{block}.conv{number}" for block in (0, 1) for number in (1, 2)]
    leaves = ["net.conv1", *convolutions, "net.fc"]
    assert {name for name, _ in rows} == {*blocks, *leaves}

    # Images have 64 × 64 pixels: 32 × 32 after conv1, 16 × 16 in layer1, 2 × 2 in layer4.
    of_leaf = {
        "net.conv1": 2 * 4 * 64 * 32 * 32 * 3 * 7 * 7,
        "net.layer4.0.conv1": 2 * 4 * 512 * 2 * 2 * 256 * 3 * 3,
        "net.layer4.0.conv2": 2 * 4 * 512 * 2 * 2 * 512 * 3 * 3,
        "net.layer4.1.conv1": 2 * 4 * 512 * 2 * 2 * 512 * 3 * 3,
        "net.layer4.1.conv2": 2 * 4 * 512 * 2 * 2 * 512 * 3 * 3,
        "net.fc": 2 * 4 * 512 * 4,
    }
    for name, forward in of_leaf.items():
        # The images need no gradient, so the first layer's backward is grad_weight alone.
        backward = forward if name == "net.conv1" else 2 * forward
        for kind in ("theoretical", "counted"):
            assert flop(rows[name, "forward"], kind) == forward
            assert flop(rows[name, "backward"], kind) == backward

    # A block is the sum of its convolutions; layer4.0 has a 1 × 1 one on its shortcut.
    of_block = {
        "net.layer1.0": 2 * (2 * 4 * 64 * 16 * 16 * 64 * 3 * 3),
        "net.layer4.0": of_leaf["net.layer4.0.conv1"]
        + of_leaf["net.layer4.0.conv2"]
        + 2 * 4 * 512 * 2 * 2 * 256,
        "net.layer4.1": 2 * of_leaf["net.layer4.1.conv1"],
    }
    for name, forward in of_block.items():
        assert flop(rows[name, "forward"], "counted") == forward
        assert flop(rows[name, "backward"], "counted") == 2 * forward
    for name in blocks:
        assert rows[name, "forward"]["layer_type"] == "BasicBlock"
        for phase in ("forward", "backward"):
            row = rows[name, phase]
            # Theory of a block is as good as that of all layers in it.
            if row["theoretical_flop"]:
                assert flop(row) == flop(row, "counted")
            else:
                assert "no theory for" in row["note"]


def test_language_model(tmp_path: Path) -> None:
    batch, context, heads, width, layer_width = 4, 64, 4, 32, 128
    printed, rows = run(tmp_path, "language_model", steps=40, batch_size=batch)

    losses = re.search(r"Loss per character: (\S+) at first, (\S+) at last", printed)
    assert losses is not None
    assert float(losses[2]) < float(losses[1]) - 1

    attentions = ["blocks.0.attention", "blocks.1.attention"]
    assert {name for name, _ in rows} == {*attentions, "head.1"}
    for name in attentions:
        forward, backward = rows[name, "forward"], rows[name, "backward"]
        assert forward["layer_type"] == "CausalAttention"
        assert forward["note"] == backward["note"] == ""
        # The registered formula: the pairs that the mask leaves, in two products and in four.
        one = 2 * batch * heads * (context * (context + 1) // 2) * width
        assert flop(forward) == 2 * one
        assert flop(backward) == 4 * one
        # The count: all pairs, and a fifth product in the backward that recomputes the scores.
        one = 2 * batch * heads * context * context * width
        assert flop(forward, "counted") == 2 * one
        assert flop(backward, "counted") == 5 * one

    forward, backward = rows["head.1", "forward"], rows["head.1", "backward"]
    (alphabet,) = re.findall(r"head\.1 = Linear\(in_features=128, out_features=(\d+)", printed)
    once = 2 * batch * context * layer_width * int(alphabet)
    assert flop(forward) == flop(forward, "counted") == once
    assert flop(backward) == flop(backward, "counted") == 2 * once


def test_gan(tmp_path: Path) -> None:
    batch = 8
    printed, rows = run(tmp_path, "gan", steps=14, batch_size=batch)

    assert re.search(r"Mean distance of generated points from the circle: \d\.\d{3}", printed)
    once = {  # of one call
        "generator.0": 2 * batch * 8 * 64,
        "generator.2": 2 * batch * 64 * 64,
        "generator.4": 2 * batch * 64 * 2,
        "discriminator.0": 2 * batch * 2 * 64,
        "discriminator.2": 2 * batch * 64 * 64,
        "discriminator.4": 2 * batch * 64 * 1,
    }
    # The discriminator runs on real points, on generated ones, and for the generator's loss; the
    # generator runs once in each pass, and frozen, without a backward, in the discriminator's.
    forward_calls = {"generator": 2, "discriminator": 3}
    backward_calls = {"generator": 1, "discriminator": 3}
    # The generator's pass goes through the frozen discriminator: grad_input alone, in every layer.
    # The discriminator's pass, on real and on generated points, has grad_weight in every layer,
    # and grad_input in all but the first, whose points need no gradient.
    products_in_backward = {
        "generator.0": 1,
        "generator.2": 2,
        "generator.4": 2,
        "discriminator.0": 2 * 1 + 1,
        "discriminator.2": 2 * 2 + 1,
        "discriminator.4": 2 * 2 + 1,
    }
    assert {name for name, _ in rows} == set(once)
    for name, one in once.items():
        network = name.split(".")[0]
        forward, backward = rows[name, "forward"], rows[name, "backward"]
        assert int(forward["calls"]) == forward_calls[network]
        assert int(backward["calls"]) == backward_calls[network]
        for kind in ("theoretical", "counted"):
            assert flop(forward, kind) == forward_calls[network] * one
            assert flop(backward, kind) == products_in_backward[name] * one


def test_batch_size_study(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "batch_size_study.py"), "--batch_sizes", "4", "8"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert last == f"Each sample adds {2 * 256 * 256} FLOPs to the forward of Linear-2"
    assert (tmp_path / "logs" / "mlp_study" / "version_0" / "report.html").exists()
