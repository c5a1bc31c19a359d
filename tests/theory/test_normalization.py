from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from lightning_profile.records import Phase
from lightning_profile.theory import cost_call, footprint
from tests.theory.calls import call_layer, call_shape, costs_of
from tests.theory.steps import assert_allocated, assert_derivations, assert_kept

IMAGES, ELEMENTS, CHANNELS = (2, 8, 6, 4), 384, 8
SAMPLES = {
    nn.BatchNorm1d(8): (2, 8, 12),
    nn.BatchNorm2d(8): IMAGES,
    nn.BatchNorm2d(8, affine=False): IMAGES,
    nn.BatchNorm2d(8, track_running_stats=False): IMAGES,
    nn.BatchNorm3d(8): (2, 8, 3, 4, 2),
    nn.LayerNorm((6, 4)): IMAGES,
    nn.LayerNorm(4, bias=False): IMAGES,
    nn.LayerNorm(4, elementwise_affine=False): IMAGES,
    nn.GroupNorm(4, 8): IMAGES,
    nn.GroupNorm(2, 8, affine=False): IMAGES,
    nn.InstanceNorm1d(8): (2, 8, 12),
    nn.InstanceNorm2d(8, affine=True): IMAGES,
    nn.InstanceNorm2d(8, affine=True, track_running_stats=True): IMAGES,
    nn.InstanceNorm3d(8): (2, 8, 3, 4, 2),
    nn.RMSNorm(4): IMAGES,
    nn.RMSNorm((6, 4), elementwise_affine=False): IMAGES,
    nn.LocalResponseNorm(3): IMAGES,
}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
KEEPERS = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)


def operations(module: nn.Module, shape: tuple[int, ...] = IMAGES) -> dict[str, int | None]:
    return {phase.value: cost.elementwise_flop for phase, cost in costs_of(module, shape).items()}


def test_batch_norm_in_training_to_the_digit() -> None:
    # Forward: mean 1 (+1 per channel), variance 3 (+1), normalise 1, γ and β 2 per element;
    # 1/√(σ²+ε) 3 and the running statistics 7 per channel.
    assert operations(nn.BatchNorm2d(CHANNELS)) == {
        "forward": (1 + 3 + 1 + 2) * ELEMENTS + (1 + 1 + 3 + 7) * CHANNELS,
        "grad_input": (1 + 2 + 1) * ELEMENTS + (2 + 1) * CHANNELS,  # the sums are grad_γ, grad_β
        "grad_weight": 3 * ELEMENTS,
    }
    assert operations(nn.BatchNorm2d(CHANNELS, affine=False, track_running_stats=False)) == {
        "forward": 5 * ELEMENTS + 5 * CHANNELS,
        "grad_input": 7 * ELEMENTS + 2 * CHANNELS,
    }
    costs = costs_of(nn.BatchNorm2d(CHANNELS), IMAGES)
    assert costs[Phase.FORWARD].read_bytes == 4 * (ELEMENTS + 2 * CHANNELS)
    assert costs[Phase.FORWARD].write_bytes == 4 * ELEMENTS
    assert costs[Phase.GRAD_INPUT].read_bytes == 4 * (2 * ELEMENTS + CHANNELS)
    assert costs[Phase.GRAD_WEIGHT].write_bytes == 4 * 2 * CHANNELS


@pytest.mark.parametrize(
    "module",
    [nn.BatchNorm2d(CHANNELS), nn.LayerNorm(4), nn.GroupNorm(2, CHANNELS), nn.RMSNorm(4)],
    ids=str,
)
def test_a_backward_reads_each_tensor_once(module: nn.Module) -> None:
    """One operator computes all gradients, from the output's and the input."""
    scale_bytes = 4 * sum(
        each.numel() for name, each in module.named_parameters() if name != "bias"
    )
    costs = costs_of(module, IMAGES)
    assert costs[Phase.GRAD_INPUT].read_bytes == 4 * 2 * ELEMENTS + scale_bytes
    assert costs[Phase.GRAD_WEIGHT].read_bytes == 0
    alone = costs_of(module, IMAGES, needs_gradient=False)
    assert set(alone) == {Phase.FORWARD, Phase.GRAD_WEIGHT}
    assert alone[Phase.GRAD_WEIGHT].read_bytes == 4 * 2 * ELEMENTS


def test_with_running_statistics_only_the_gradient_of_the_scale_needs_the_input() -> None:
    module = nn.BatchNorm2d(CHANNELS).eval()
    assert costs_of(module, IMAGES)[Phase.GRAD_WEIGHT].read_bytes == 4 * ELEMENTS
    module.weight.requires_grad_(requires_grad=False)
    assert costs_of(module, IMAGES)[Phase.GRAD_WEIGHT].read_bytes == 0
    alone = costs_of(module, IMAGES, needs_gradient=False)
    assert alone[Phase.GRAD_WEIGHT].read_bytes == 4 * ELEMENTS


def test_the_backward_of_a_batch_norm_costs_the_same_whoever_takes_the_sums() -> None:
    per_sum = {"weight": 2 * ELEMENTS, "bias": ELEMENTS}
    both = operations(nn.BatchNorm2d(CHANNELS))
    for name, operations_of_sum in per_sum.items():
        frozen = nn.BatchNorm2d(CHANNELS)
        getattr(frozen, name).requires_grad_(requires_grad=False)
        assert operations(frozen) == {
            "forward": both["forward"],
            "grad_input": both["grad_input"] + operations_of_sum,
            "grad_weight": both["grad_weight"] - operations_of_sum,
        }


def test_running_statistics_are_constants() -> None:
    evaluated = operations(nn.BatchNorm2d(CHANNELS).eval())
    assert evaluated == {
        "forward": 4 * ELEMENTS + 3 * CHANNELS,
        "grad_input": ELEMENTS + CHANNELS,
        "grad_weight": 3 * ELEMENTS,
    }
    tracked = nn.InstanceNorm2d(CHANNELS, affine=True, track_running_stats=True).eval()
    assert operations(tracked) == evaluated
    costs = costs_of(nn.BatchNorm2d(CHANNELS).eval(), IMAGES)
    assert costs[Phase.GRAD_INPUT].read_bytes == 4 * (ELEMENTS + CHANNELS)
    without = nn.BatchNorm2d(CHANNELS, track_running_stats=False)
    assert operations(without) == operations(without.eval())


def test_instance_norm_to_the_digit() -> None:
    planes = 2 * CHANNELS
    assert operations(nn.InstanceNorm2d(CHANNELS)) == {
        "forward": 5 * ELEMENTS + 5 * planes,
        "grad_input": 7 * ELEMENTS + 2 * planes,
    }
    tracked = nn.InstanceNorm2d(CHANNELS, affine=True, track_running_stats=True)
    assert operations(tracked) == {
        "forward": 7 * ELEMENTS + 5 * planes + (2 * planes + 2 * CHANNELS) + 7 * CHANNELS,
        "grad_input": 7 * ELEMENTS + 3 * planes,
        "grad_weight": 3 * ELEMENTS,
    }
    single = operations(nn.InstanceNorm2d(CHANNELS), (CHANNELS, 6, 4))
    assert single == operations(nn.InstanceNorm2d(CHANNELS), (1, CHANNELS, 6, 4))


def test_layer_and_group_norm_to_the_digit() -> None:
    rows = ELEMENTS // 24
    assert operations(nn.LayerNorm((6, 4))) == {
        "forward": 7 * ELEMENTS + 5 * rows,
        "grad_input": 8 * ELEMENTS + 2 * rows,
        "grad_weight": 3 * ELEMENTS,
    }
    assert operations(nn.LayerNorm((6, 4), bias=False))["grad_weight"] == 2 * ELEMENTS
    groups = 2 * 4
    assert operations(nn.GroupNorm(4, 8)) == {
        "forward": 7 * ELEMENTS + 5 * groups,
        "grad_input": 8 * ELEMENTS + 2 * groups,
        "grad_weight": 3 * ELEMENTS,
    }
    forward = costs_of(nn.LayerNorm((6, 4)), IMAGES)[Phase.FORWARD]
    assert forward.allocated_bytes == 4 * (ELEMENTS + 2 * rows)


def test_rms_norm_to_the_digit() -> None:
    rows = ELEMENTS // 4
    assert operations(nn.RMSNorm(4)) == {
        "forward": 4 * ELEMENTS + 4 * rows,
        "grad_input": 6 * ELEMENTS + rows,
        "grad_weight": 2 * ELEMENTS,
    }


def test_local_response_norm_to_the_digit() -> None:
    assert operations(nn.LocalResponseNorm(3)) == {
        "forward": (3 + 5) * ELEMENTS,
        "grad_input": (3 + 7) * ELEMENTS,
    }


@pytest.mark.parametrize(("module", "shape"), SAMPLES.items(), ids=str)
def test_derivations_batches_and_phases(module: nn.Module, shape: tuple[int, ...]) -> None:
    assert_derivations(module, torch.rand(shape))
    assert_derivations(module.eval(), torch.rand(shape))
    once, twice = (operations(module, (n, *shape[1:])) for n in (2, 4))
    per_call = 3 * CHANNELS if hasattr(module, "running_mean") else 0  # 1/√(σ²+ε) in eval
    if getattr(module, "track_running_stats", False):
        assert twice["forward"] == 2 * once["forward"] - per_call
    elif not isinstance(module, BATCH_NORMS):
        assert twice == {phase: 2 * count for phase, count in once.items()}
    module.train()
    phases = set(costs_of(module, shape, needs_gradient=False))
    has_parameters = any(True for _ in module.parameters())
    assert phases == {Phase.FORWARD} | ({Phase.GRAD_WEIGHT} if has_parameters else set())
    module.requires_grad_(requires_grad=False)
    assert set(costs_of(module, shape)) == {Phase.FORWARD, Phase.GRAD_INPUT}
    module.requires_grad_(requires_grad=True)


@pytest.mark.parametrize(("module", "shape"), SAMPLES.items(), ids=str)
@pytest.mark.parametrize("is_training", [True, False])
def test_allocated_equals_the_allocator(
    module: nn.Module, shape: tuple[int, ...], is_training: bool
) -> None:
    module.train(is_training)
    unknown = set()
    if isinstance(module, (*INSTANCE_NORMS, nn.LocalResponseNorm, nn.RMSNorm)):
        unknown = {"forward"}
    assert_allocated(module, torch.rand(shape), unknown=unknown)
    module.train()


@pytest.mark.parametrize(
    ("module", "shape"),
    [(module, shape) for module, shape in SAMPLES.items() if isinstance(module, KEEPERS)],
    ids=str,
)
@pytest.mark.parametrize("is_training", [True, False])
def test_kept_equals_what_autograd_saves(
    module: nn.Module, shape: tuple[int, ...], is_training: bool
) -> None:
    assert_kept(module.train(is_training), torch.rand(shape))
    module.train()


def test_half_precision_leaves_the_statistics_to_the_device() -> None:
    source = torch.rand(2, 4, dtype=torch.bfloat16, requires_grad=True)
    real = call_layer(nn.LayerNorm(4).bfloat16(), source)
    assert "activation_bytes" not in {line.quantity for line in footprint(real.layer, real.call)}
    costs = cost_call(real.layer, real.call).costs
    assert costs is not None
    assert costs[Phase.FORWARD].allocated_bytes is None
    assert costs[Phase.GRAD_INPUT].allocated_bytes == 2 * 8


def test_parameters_count_in_their_own_precision() -> None:
    real = call_layer(nn.BatchNorm2d(8), torch.rand(IMAGES, dtype=torch.bfloat16))
    costs = cost_call(real.layer, real.call).costs
    assert costs is not None
    assert costs[Phase.FORWARD].read_bytes == 2 * ELEMENTS + 4 * 2 * CHANNELS
    assert costs[Phase.GRAD_WEIGHT].write_bytes == 4 * 2 * CHANNELS


@pytest.mark.parametrize("is_training", [True, False])
def test_what_a_batch_norm_saves_on_a_gpu_is_up_to_the_kernel(is_training: bool) -> None:
    real = call_shape(nn.BatchNorm2d(8).train(is_training), IMAGES)
    on_gpu = replace(real.call, device_type="cuda")
    assert "activation_bytes" not in {line.quantity for line in footprint(real.layer, on_gpu)}
    costs = cost_call(real.layer, on_gpu).costs
    assert costs is not None
    assert costs[Phase.FORWARD].allocated_bytes is None
    assert costs[Phase.GRAD_INPUT].allocated_bytes == 4 * ELEMENTS
