"""What a phase allocates, to the byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.comparison import compare
from lightning_profile.comparison.memory import memory_table, rounding_of
from lightning_profile.comparison.notes import NOT_ALLOCATED
from lightning_profile.mnist import MnistClassifier
from lightning_profile.records import (
    AllocatedTensor,
    Block,
    Blocks,
    Cost,
    MemoryPart,
    MemoryTable,
    Phase,
)
from tests.conftest import SmallCnn, read_csv, read_json, train
from tests.recording import compare_step
from tests.test_comparison import COSTED, LAYER, measured

MIB = 2**20


@pytest.mark.parametrize("batch", [1, 100, 128])
@pytest.mark.parametrize("is_autocast", [False, True])
@pytest.mark.parametrize("kind", [MnistClassifier, SmallCnn])
def test_nothing_is_left_over_on_a_cpu(kind: Any, batch: int, is_autocast: bool) -> None:
    model, size = kind(), 28 if kind is MnistClassifier else 12
    images, labels = torch.randn(batch, 1, size, size), torch.zeros(batch, dtype=torch.long)

    def step() -> None:
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_autocast):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()

    rows = compare_step(model, None, step)
    del rows["", ""]
    tables = {key: row.memory for key, row in rows.items() if row.measured is not None and row.cost}
    assert len(tables) == 8
    for (name, phase), table in tables.items():
        measurement = rows[name, phase].measured
        assert measurement is not None
        if table is None:  # how statistics of half precision are kept is up to the device
            assert (name, phase, is_autocast) == ("norm", "forward", True)
            continue
        assert table.residual_bytes == table.sum_of("rounding") == 0
        assert table.sum_of("theory") + table.sum_of("kept") == measurement.allocated_bytes
        assert table.sum_of("temporary") == measurement.workspace_bytes
        if not is_autocast:
            assert table.sum_of("kept") == 0


def cost(*sizes: int) -> Cost:
    tensors = tuple(
        AllocatedTensor(name=f"tensor {number}", bytes=size) for number, size in enumerate(sizes)
    )
    return Cost(
        flop=0,
        elementwise_flop=None,
        read_bytes=None,
        write_bytes=None,
        allocated_bytes=sum(sizes),
        tensors=tensors,
    )


def table(
    sizes: list[int], *blocks: tuple[str, int, bool], device: str = "cuda", settings: str = ""
) -> MemoryTable | None:
    kept = tuple(Block(operator=name, bytes=size) for name, size, is_kept in blocks if is_kept)
    temporary_bytes = {name: size for name, size, is_kept in blocks if not is_kept}
    made = Blocks(kept=kept, temporary_bytes=temporary_bytes)
    return memory_table(cost(*sizes), measured(blocks=made), rounding_of(device, settings))


def part(name: str, operator: str | None, size: int, kind: Any) -> MemoryPart:
    return MemoryPart(name=name, operator=operator, bytes=size, kind=kind)


def test_cuda_rounds_to_512_bytes_and_everything_else_has_a_name() -> None:
    assert table(
        [1000, 4],
        ("aten::conv", 512, True),
        ("aten::conv", 9 * MIB, False),
        ("aten::to", 2048, True),
        ("aten::conv", 1024, True),
        ("aten::to", 512, True),
    ) == MemoryTable(
        parts=(
            part("tensor 0", "aten::conv", 1000, "theory"),
            part("tensor 1", "aten::conv", 4, "theory"),
            part("tensor 0", "aten::conv", 24, "rounding"),
            part("tensor 1", "aten::conv", 508, "rounding"),
            part("", "aten::conv", 9 * MIB, "temporary"),
            part("", "aten::to", 2560, "kept"),
        ),
        measured_bytes=9 * MIB + 4096,
        residual_bytes=0,
    )


@pytest.mark.parametrize(
    ("size", "block", "is_found"),
    [
        (3 * MIB, 3 * MIB, True),
        (3 * MIB, 4 * MIB, True),  # what would be left is too little to split off
        (3 * MIB, 4 * MIB + 512, False),
        (3 * MIB, 3 * MIB - 512, False),
        (MIB, MIB + 512, False),  # the small pool always splits
        (MIB - 1, MIB, True),
    ],
)
def test_a_large_block_may_be_handed_out_whole(size: int, block: int, is_found: bool) -> None:
    made = table([size], ("aten::conv", block, True))
    assert made is not None
    assert made.residual_bytes == (0 if is_found else -size)
    assert made.parts[0].operator == ("aten::conv" if is_found else None)


def test_a_block_that_did_not_outlive_the_phase_is_no_tensor_of_theory() -> None:
    made = table([64], ("aten::conv", 64, False), device="cpu")
    assert made is not None
    assert made.residual_bytes == -64
    assert made.sum_of("temporary") == made.measured_bytes == 64


def test_on_a_cpu_a_block_is_as_large_as_its_tensor() -> None:
    made = table([64], ("aten::conv", 65, True), device="cpu")
    assert made is not None
    assert (made.residual_bytes, made.sum_of("kept")) == (-64, 65)


@pytest.mark.parametrize(
    ("device", "settings"),
    [
        ("cuda", "PYTORCH_CUDA_ALLOC_CONF=roundup_power2_divisions:4"),
        ("cuda", "PYTORCH_ALLOC_CONF=max_split_size_mb:64"),
        ("cuda", "allocator=cudaMallocAsync"),
        ("xpu", ""),
    ],
)
def test_other_ways_to_round_are_unknown(device: str, settings: str) -> None:
    assert table([64], ("aten::conv", 512, True), device=device, settings=settings) is None
    assert table([64], ("aten::conv", 512, True), settings="allocator=native") is not None


def test_a_tensor_for_which_nothing_was_allocated_is_named() -> None:
    costed = replace(COSTED, costs={Phase.FORWARD: cost(36, 8)})
    made = measured(blocks=Blocks(kept=(Block(operator="aten::addmm", bytes=8),)))
    forward, _ = compare([LAYER], [costed], [made], [0])
    assert forward.note == NOT_ALLOCATED.format("tensor 0")
    assert forward.memory is not None
    assert forward.memory.residual_bytes == -36


def test_the_files_have_every_part(tmp_path: Path) -> None:
    train(tmp_path, LayerProfiler("Conv2d-2", Schedule(wait=2)))
    (window,) = read_json(tmp_path)["windows"]
    forward, backward = window["memory"]
    assert (forward["layer"], forward["phase"]) == ("conv2", "forward")
    names = [part["name"] for part in backward["table"]["parts"] if part["kind"] == "theory"]
    assert names == ["gradient of input", "gradient of weight", "gradient of bias"]
    for row, each in zip(read_csv(tmp_path), (forward, backward), strict=True):
        sizes = {name: int(row[f"{name}_bytes"]) for name in ("rounding", "other_kept")}
        sizes |= {"theory": int(row["theoretical_allocated_bytes"])}
        sizes |= {"temporary": int(row["workspace_bytes"])}
        assert row["memory_residual_bytes"] == "0"
        assert sum(sizes.values()) == each["table"]["measured_bytes"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("batch", [1, 100, 128, 4096])
def test_nothing_is_left_over_on_a_gpu(tmp_path: Path, batch: int, precision: Any) -> None:
    data = TensorDataset(torch.randn(4 * batch, 1, 28, 28), torch.randint(0, 10, (4 * batch,)))
    train(
        tmp_path,
        LayerProfiler([nn.Conv2d, nn.Linear], Schedule(wait=2)),
        model=MnistClassifier,
        data=DataLoader(data, batch_size=batch),
        precision=precision,
        accelerator="gpu",
        devices=1,
    )
    rows = read_csv(tmp_path)
    assert len(rows) == 8
    for row in rows:
        assert row["memory_residual_bytes"] == "0", row
        assert 0 <= int(row["cached_bytes"]) < int(row["reserved_bytes"])
        if precision == "32-true":
            assert row["other_kept_bytes"] == "0", row
