"""Closed form of LocalResponseNorm.

    forward    d = k + α/n · Σ x² over n channels,  y = x·d^(−β)
    backward   grad_x = g·d^(−β) − 2αβ/n · x · Σ g·y/d over the n channels that x is seen from

(Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural
networks", section 3.3; PyTorch divides by n.) Channels beyond the first and the last count like
any other, as padding does in a convolution; d is known in the backward.
"""

from __future__ import annotations

from torch import nn

from lightning_profile.records import Call, PhaseCosts
from lightning_profile.theory.elementwise import (
    forward_cost,
    grad_input_cost,
    has_one_input,
    input_bytes,
    input_elements,
    input_phases,
    needs_input_gradient,
)
from lightning_profile.theory.expression import symbol
from lightning_profile.theory.registry import phase_costs
from lightning_profile.theory.tensors import input_gradients, output_tensors

# Per element, beside the n additions of the window.
FORWARD = 5  # square; ·α/n, +k, power, product with x
BACKWARD = 7  # power, ·g; ·y, /d; ·x, ·2αβ/n, −


@phase_costs.register(nn.LocalResponseNorm)
def _local_response_costs(module: nn.LocalResponseNorm, call: Call) -> PhaseCosts | None:
    if not has_one_input(call):
        return None
    elements, window = input_elements(call), symbol("n", module.size)
    # PyTorch computes it in several operators and keeps what is between them.
    allocated = None if needs_input_gradient(call) else output_tensors(call)
    return input_phases(
        call,
        forward_cost(call, elements * (window + FORWARD), allocated=allocated),
        grad_input_cost(
            call,
            elements * (window + BACKWARD),
            needed=input_bytes(call),
            allocated=input_gradients(call),
        ),
    )
