"""All that comes after a recording, on steps recorded on real devices.

``python -m tests.data.record tests/data`` records them anew, on the device that it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_profile.attribution import attribute
from lightning_profile.comparison import compare
from lightning_profile.measurement import Recording
from lightning_profile.records import Comparison, Layer, Measurement, Phase
from lightning_profile.selection import select_layers
from lightning_profile.theory import KnownTheory
from tests.data.models import MODELS, SHAPES
from tests.data.record import record
from tests.recordings import FOLDER, Recorded, read, write

FILES = sorted(FOLDER.glob("*.json.gz"))
PRODUCTS = ("Conv2d", "Linear")


@dataclass(frozen=True)
class Analysed:
    """What the stages made of a file."""

    recorded: Recorded
    layers: Sequence[Layer]
    measurements: Sequence[Measurement]
    comparisons: Sequence[Comparison]

    @property
    def recording(self) -> Recording:
        return self.recorded.recording

    @property
    def products(self) -> list[Comparison]:
        """Rows of convolutions and linear layers."""
        return [
            each for each in self.comparisons if each.layer and each.layer.type_name in PRODUCTS
        ]


@pytest.fixture(params=FILES, ids=lambda path: path.name.partition(".")[0], scope="module")
def analysed(request: pytest.FixtureRequest) -> Analysed:
    recorded = read(request.param)
    layers = select_layers(MODELS[recorded.model](), "all").watched
    recording, device_type = recorded.recording, recorded.device_type
    rows = attribute(
        recording.ops,
        recording.calls,
        memory_device=device_type,
        reported={layer.qualified_name for layer in layers if layer.has_row},
        graphs=recording.graphs,
    )
    comparisons = compare(
        layers,
        KnownTheory().cost_calls(layers, recording.calls),
        rows,
        recording.steps,
        memory_device=device_type,
        allocator_settings=recorded.allocator_settings,
    )
    return Analysed(recorded, layers, rows, comparisons)


def test_there_are_recordings() -> None:
    assert {(file.name.split("_", 1)[1]) for file in FILES} >= {
        f"{name}.json.gz" for name in ("mnist_fp32", "mnist_bf16", "resnet_block_fp32")
    }
    assert sum(file.stat().st_size for file in FILES) < 300_000


def test_a_file_gives_back_what_was_recorded(tmp_path: Path) -> None:
    made = record("mnist", "bf16", torch.device("cpu"))
    path, again = tmp_path / "a.json.gz", tmp_path / "b.json.gz"
    write(path, made)
    assert read(path) == made
    write(again, made)
    assert path.read_bytes() == again.read_bytes()


def test_every_layer_ran_forward_and_backward(analysed: Analysed) -> None:
    for each in analysed.comparisons:
        assert each.measured is not None
        calls = _calls(each.layer) if each.layer else 0
        assert (each.steps, each.calls) == (1, calls)
    of_layers = [each.phase for each in analysed.comparisons if each.layer]
    # A Sequential runs no operators of its own.
    rows = [layer for layer in analysed.layers if not isinstance(layer.module, nn.Sequential)]
    assert of_layers == [Phase.FORWARD, Phase.BACKWARD] * len(rows)
    assert [each.is_optimizer for each in analysed.comparisons if not each.layer] == [True, False]


def _calls(layer: Layer) -> int:
    return 2 if layer.qualified_name == "block.relu" else 1


def test_counts_equal_theory(analysed: Analysed) -> None:
    assert analysed.products
    for each in analysed.products:
        assert each.cost is not None
        assert each.measured is not None
        assert each.measured.counted_flop == each.cost.flop > 0


def test_rows_add_up_to_the_step(analysed: Analysed) -> None:
    ops, rows = analysed.recording.ops, analysed.measurements
    # The backward of a GPU's training runs on a thread of its own, beside the step's range.
    roots = [op for op in ops if op.parent is None]
    assert sum(row.own.cpu_time_ns for row in rows) == sum(op.end_ns - op.start_ns for op in roots)
    handed_out = sum(
        block.bytes
        for op in ops
        for block in op.allocations
        if block.bytes > 0 and block.device_type == analysed.recorded.device_type
    )
    outermost = [row for row in rows if row.layer in (None, "(model)")]
    assert sum(row.allocated_bytes + row.workspace_bytes for row in outermost) == handed_out
    if analysed.recorded.device_type != "cpu":
        kernels = [kernel for op in ops for kernel in op.launched or ()]
        assert sum(row.own.kernels or 0 for row in rows) == len(kernels)
        total_ns = sum(kernel.device_time_ns for kernel in kernels)
        assert sum(row.own.device_time_ns or 0 for row in rows) == total_ns


def test_every_byte_of_a_product_has_a_name(analysed: Analysed) -> None:
    summed = _layer_whose_gradient_is_added_to_its_neighbours(analysed)
    for each in analysed.products:
        assert each.measured is not None
        assert each.memory is not None, each.note
        if (each.layer, each.phase) != (summed, Phase.BACKWARD):
            assert each.memory.residual_bytes == 0, each.memory
        kept = sum(each.memory.sum_of(kind) for kind in ("theory", "rounding", "kept"))
        assert kept + each.memory.residual_bytes == each.measured.allocated_bytes
        assert each.memory.sum_of("temporary") == each.measured.workspace_bytes
        if analysed.recorded.precision != "bf16":
            assert each.memory.sum_of("kept") == 0


def _layer_whose_gradient_is_added_to_its_neighbours(analysed: Analysed) -> Layer | None:
    """Of the two branches of a residual block, the one whose gradient of the block's input goes."""
    inputs = ("block.conv1", "block.downsample.0")
    branches = [
        each
        for each in analysed.products
        if each.layer and each.layer.qualified_name in inputs and each.phase is Phase.BACKWARD
    ]
    left = [each for each in branches if each.memory and each.memory.residual_bytes]
    assert len(left) == len(branches) // 2
    for each in left:
        assert each.memory is not None
        assert each.note.endswith("fits gradient of input")
        (gradient,) = [part for part in each.memory.parts if part.operator is None]
        assert each.memory.residual_bytes == -gradient.bytes
    return left[0].layer if left else None


def test_the_branches_of_a_block_are_added_up_in_its_backward(analysed: Analysed) -> None:
    sums = {
        (row.layer, row.phase): use
        for row in analysed.measurements
        if not row.is_optimizer
        for use in row.operators
        if use.name in ("aten::add", "aten::add_") and row.phase is not Phase.FORWARD
    }
    if analysed.recorded.model != "resnet_block":
        assert not sums
        return
    assert set(sums) == {("block", Phase.BACKWARD), ("(model)", Phase.BACKWARD)}
    use = sums["block", Phase.BACKWARD]
    assert use.count == 1
    assert use.device_time_ns is None or use.device_time_ns > 0


def test_the_optimizers_row_has_the_update_only(analysed: Analysed) -> None:
    (row,) = [row for row in analysed.measurements if row.is_optimizer]
    names = {use.name for use in row.operators}
    assert any("addcdiv" in name or "fused_adam" in name for name in names)
    assert not any("backward" in name.lower() or "loss" in name for name in names)


def test_kernels_of_a_product_are_known_by_kind(analysed: Analysed) -> None:
    if analysed.recorded.device_type == "cpu":
        assert all(row.on_device is None for row in analysed.measurements)
        return
    for each in analysed.products:
        assert each.measured is not None
        assert each.measured.on_device is not None
        uses = each.measured.on_device.kernels
        assert sum(use.device_time_ns for use in uses) == each.measured.device_time_ns
        kinds = {use.kind: 0.0 for use in uses}
        for use in uses:
            kinds[use.kind] += use.share
        assert kinds.get("matrix product", 0) + kinds.get("transform", 0) > 0, uses
        assert kinds.get("other", 0) <= 0.01, uses


def test_kernels_launched_inside_of_a_layers_call_are_the_layers(analysed: Analysed) -> None:
    ops = analysed.recording.ops
    for mark in ops:
        if mark.call is None or mark.launched is None:
            continue
        call = analysed.recording.calls[mark.call]
        assert call is not None
        inside_ns = sum(
            op.device_time_ns or 0 for op in ops if mark.start_ns <= op.start_ns <= mark.end_ns
        )
        (row,) = [
            row
            for row in analysed.measurements
            if (row.layer, row.phase) == (call.layer, Phase.FORWARD)
        ]
        assert row.device_time_ns is not None
        assert row.device_time_ns >= 0.99 * inside_ns > 0


def test_kernels_launched_inside_of_the_backward_of_convolutions_are_the_convolutions(
    analysed: Analysed,
) -> None:
    ops = analysed.recording.ops
    is_inside: list[bool] = []
    for op in ops:  # parents before children
        # Not the engine's range around it, where gradients of several branches are added up.
        is_node = op.name == "ConvolutionBackward0"
        is_inside.append(is_node or (op.parent is not None and is_inside[op.parent]))
    assert any(is_inside)
    if analysed.recorded.device_type == "cpu":
        return
    inside_ns = sum(op.device_time_ns or 0 for op, yes in zip(ops, is_inside, strict=True) if yes)
    rows_ns = sum(
        each.measured.device_time_ns or 0
        for each in analysed.products
        if each.layer
        and each.layer.type_name == "Conv2d"
        and each.phase is Phase.BACKWARD
        and each.measured
    )
    assert rows_ns >= 0.99 * inside_ns > 0


def test_the_gradients_of_a_linear_are_told_apart(analysed: Analysed) -> None:
    linear = [
        each
        for each in analysed.products
        if each.layer is not None
        and isinstance(each.layer.module, nn.Linear)
        and each.phase is Phase.BACKWARD
    ]
    assert linear
    for each in linear:
        use = each.measured.on_device if each.measured is not None else None
        if use is None:
            continue
        assert each.layer is not None
        # Both products have one shape if there are as many samples as outputs.
        can_be_told = SHAPES[analysed.recorded.model][0] != each.layer.module.out_features
        assert (use.grad_input_device_time_ns is not None) == can_be_told
        assert (use.grad_weight_device_time_ns is not None) == can_be_told
