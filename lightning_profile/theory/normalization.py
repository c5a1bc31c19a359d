"""Closed forms of layers that normalise with a mean and a variance, or a mean square.

Over the M elements of each statistic, with r = 1 / √(σ² + ε):

    forward    μ = Σx / M,  σ² = Σ(x − μ)² / M,  x̂ = (x − μ)·r,  y = γ·x̂ + β
               RMSNorm: r = 1 / √(Σx² / M + ε),  x̂ = x·r,  y = γ·x̂
    backward   grad_γ = Σ g·x̂,  grad_β = Σ g,  ĝ = γ·g
               own statistics   grad_x = r·(ĝ − Σĝ/M − x̂·Σ(ĝ·x̂)/M)
               running ones     grad_x = r·ĝ, as they are constants
               RMSNorm          grad_x = r·(ĝ − x̂·Σ(ĝ·x̂)/M)

(Ioffe & Szegedy 2015, arXiv:1502.03167, section 3; Ba et al. 2016, arXiv:1607.06450; Ulyanov et
al. 2016, arXiv:1607.08022; Wu & He 2018, arXiv:1803.08494; Zhang & Sennrich 2019,
arXiv:1910.07467.) x − μ is computed once per forward; x̂ and r are known in the backward. Where a
statistic belongs to one channel, γ and r are multiplied once per statistic instead of γ·g. The two
sums of a batch norm's grad_x are grad_β and grad_γ: they count in grad_weight if it is computed.

The traffic is that of x, y, γ, β and their gradients. The statistics are left out, and
``momentum=None`` counts like any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from lightning_profile.records import Call, PhaseCosts
from lightning_profile.theory.elementwise import (
    has_one_input,
    input_bytes,
    input_elements,
    times,
)
from lightning_profile.theory.expression import ZERO, Expression, symbol, total
from lightning_profile.theory.normalization_operations import (
    MEAN_SQUARE,
    MEAN_SQUARE_GRADIENT,
    OWN_GRADIENT,
    OWN_STATISTICS,
    RUNNING_GRADIENT,
    RUNNING_STATISTICS,
    RUNNING_UPDATE,
    SCALE_GRADIENT,
    SCALED,
    SHIFT_GRADIENT,
    Operations,
    normalization_costs,
    statistic_tensors,
)
from lightning_profile.theory.registry import kept_activations, phase_costs
from lightning_profile.theory.tensors import NamedTensor, total_bytes


@phase_costs.register(nn.BatchNorm1d)
@phase_costs.register(nn.BatchNorm2d)
@phase_costs.register(nn.BatchNorm3d)
def _batch_norm_costs(module: Any, call: Call) -> PhaseCosts | None:
    if not _fits(call):
        return None
    elements, channels = input_elements(call), symbol("C", module.num_features)
    if not _has_own_statistics(module, call):
        return _running_costs(call, channels, saved=_saved_by_batch_norm(module, call))
    updates = call.is_training and module.track_running_stats
    in_grad_weight = SCALE_GRADIENT * call.trains("weight") + SHIFT_GRADIENT * call.trains("bias")
    gradient = Operations(OWN_GRADIENT.per_element - in_grad_weight, OWN_GRADIENT.per_statistic)
    return normalization_costs(
        call,
        forward=total(
            [
                OWN_STATISTICS.of(elements, channels),
                times(RUNNING_UPDATE, channels) if updates else ZERO,
            ]
        ),
        grad_input=total([gradient.of(elements, channels), _if_scaled(call, channels)]),
        grad_input_needs_input=True,
        saved=_saved_by_batch_norm(module, call),
    )


@kept_activations.register(nn.BatchNorm1d)
@kept_activations.register(nn.BatchNorm2d)
@kept_activations.register(nn.BatchNorm3d)
def _kept_by_batch_norm(module: Any, call: Call) -> Expression | None:
    if not call.output_requires_grad:
        return ZERO
    saved = _saved_by_batch_norm(module, call)
    return None if saved is None else total([input_bytes(call), total_bytes(saved)])


def _saved_by_batch_norm(module: Any, call: Call) -> list[NamedTensor] | None:
    """Kept beside the input; on a GPU that, and workspaces, are up to the kernel chosen there."""
    if call.device_type != "cpu":
        return None
    if not _has_own_statistics(module, call):
        return []
    return statistic_tensors(call, symbol("C", module.num_features))


def _instance_norm_costs(dimensions: int, module: Any, call: Call) -> PhaseCosts | None:
    if not _fits(call):
        return None
    *images, channel_count = call.inputs[0].shape[:-dimensions]
    elements, channels = input_elements(call), symbol("C", channel_count)
    if not _has_own_statistics(module, call):
        return _running_costs(call, channels, saved=None)
    planes = symbol("N", math.prod(images)) * channels
    # The running ones take the means over the batch, of mean and variance: a sum and a division.
    update = 2 * planes + times(2 + RUNNING_UPDATE, channels)
    updates = call.is_training and module.track_running_stats
    return normalization_costs(
        call,
        forward=total([OWN_STATISTICS.of(elements, planes), update if updates else ZERO]),
        grad_input=total([OWN_GRADIENT.of(elements, planes), _if_scaled(call, planes)]),
        grad_input_needs_input=True,
        saved=None,  # PyTorch makes a batch norm of it, with copies of γ and β for each image
    )


for count, kind in enumerate((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), start=1):
    phase_costs.register(kind, partial(_instance_norm_costs, count))


@phase_costs.register(nn.LayerNorm)
def _layer_norm_costs(module: nn.LayerNorm, call: Call) -> PhaseCosts | None:
    return _group_costs(call, _rows(module, call)) if _fits(call) else None


@kept_activations.register(nn.LayerNorm)
def _kept_by_layer_norm(module: nn.LayerNorm, call: Call) -> Expression | None:
    return _kept_by_groups(call, _rows(module, call))


@phase_costs.register(nn.GroupNorm)
def _group_norm_costs(module: nn.GroupNorm, call: Call) -> PhaseCosts | None:
    return _group_costs(call, _groups(module, call)) if _fits(call) else None


@kept_activations.register(nn.GroupNorm)
def _kept_by_group_norm(module: nn.GroupNorm, call: Call) -> Expression | None:
    return _kept_by_groups(call, _groups(module, call))


@phase_costs.register(nn.RMSNorm)
def _rms_norm_costs(module: nn.RMSNorm, call: Call) -> PhaseCosts | None:
    if not _fits(call):
        return None
    elements, rows = input_elements(call), _rows(module, call)
    return normalization_costs(
        call,
        forward=MEAN_SQUARE.of(elements, rows),
        grad_input=total(
            [MEAN_SQUARE_GRADIENT.of(elements, rows), _if_scaled(call, times(SCALED, elements))]
        ),
        grad_input_needs_input=True,
        saved=None,  # one kernel on a GPU, several operators on a CPU
    )


def _fits(call: Call) -> bool:
    return has_one_input(call) and call.inputs[0].shape == call.outputs[0].shape


def _has_own_statistics(module: Any, call: Call) -> bool:
    return call.is_training or not module.track_running_stats


def _if_scaled(call: Call, operations: Expression) -> Expression:
    """The product with γ, if there is one."""
    return operations if call.has("weight") else ZERO


def _rows(module: nn.LayerNorm | nn.RMSNorm, call: Call) -> Expression:
    return input_elements(call) // symbol("row elements", math.prod(module.normalized_shape))


def _groups(module: nn.GroupNorm, call: Call) -> Expression:
    return symbol("N", call.inputs[0].shape[0]) * symbol("groups", module.num_groups)


def _running_costs(
    call: Call, channels: Expression, *, saved: Sequence[NamedTensor] | None
) -> PhaseCosts:
    """With statistics from a former training, which are constants."""
    elements = input_elements(call)
    return normalization_costs(
        call,
        forward=RUNNING_STATISTICS.of(elements, channels),
        grad_input=total([RUNNING_GRADIENT.of(elements, channels), _if_scaled(call, channels)]),
        grad_input_needs_input=False,
        saved=saved,
    )


def _group_costs(call: Call, statistics: Expression) -> PhaseCosts:
    """With statistics that belong to several channels each."""
    elements = input_elements(call)
    return normalization_costs(
        call,
        forward=OWN_STATISTICS.of(elements, statistics),
        grad_input=total(
            [OWN_GRADIENT.of(elements, statistics), _if_scaled(call, times(SCALED, elements))]
        ),
        grad_input_needs_input=True,
        saved=statistic_tensors(call, statistics),
    )


def _kept_by_groups(call: Call, statistics: Expression) -> Expression | None:
    if not call.output_requires_grad:
        return ZERO
    saved = statistic_tensors(call, statistics)
    return None if saved is None else input_bytes(call) + total_bytes(saved)
