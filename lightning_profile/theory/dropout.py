"""Closed forms of dropout, which does nothing in eval mode or with p = 0.

    Dropout        y = x·ξ         ξ = m / (1 − p),  m = [u < 1 − p],  u uniform on [0, 1)
    AlphaDropout   y = x·ξ + b     ξ = a·m,  b = (m − 1)·aα′ + aα′p,  with constants a and α′
    gradient       grad_x = g·ξ

(Srivastava et al. 2014, "Dropout", section 4, scaled as in PyTorch; Klambauer et al. 2017,
arXiv:1706.02515, "new dropout technique".) The feature-wise variants draw one ξ for each channel of
each image (Tompson et al. 2015, arXiv:1411.4280). To draw u counts nothing.

The traffic is x and y, and both gradients. The mask is left out, as it could be drawn again: how
it is kept, and so what is allocated when there is a backward pass, differs by device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from lightning_profile.records import Call, PhaseCosts
from lightning_profile.theory.elementwise import (
    forward_cost,
    grad_input_cost,
    has_one_input,
    input_elements,
    input_phases,
    pass_through_costs,
    times,
)
from lightning_profile.theory.expression import ZERO, Expression, symbol
from lightning_profile.theory.registry import phase_costs
from lightning_profile.theory.tensors import NamedTensor, input_gradients, output_tensors


@dataclass(frozen=True, slots=True)
class Masking:
    """Operation counts of a kind of dropout.

    Attributes:
        per_mask_element: Comparison of u, and what ξ and b are computed with.
        per_element: To apply them to x.
    """

    per_mask_element: int
    per_element: int


DROPOUT = Masking(2, 1)  # <, /;  ·
ALPHA_DROPOUT = Masking(5, 2)  # <, ·, −, ·, +;  ·, +

# Dimensions of an input with a batch; others of these take one image less.
_BATCHED = {nn.Dropout1d: 3, nn.Dropout3d: 5}


def _element_mask(module: nn.Module, call: Call) -> Expression:
    return input_elements(call)


def _channel_mask(module: nn.Module, call: Call) -> Expression:
    shape = call.inputs[0].shape
    batched = next((size for kind, size in _BATCHED.items() if isinstance(module, kind)), 0)
    channels = shape[:1] if len(shape) < batched else shape[:2]
    return symbol("channels of all images", math.prod(channels))


def _dropout_costs(masking: Masking, mask: Any, module: Any, call: Call) -> PhaseCosts | None:
    if not has_one_input(call) or module.p == 1:
        return None  # with p = 1 there is no 1 / (1 − p)
    if not call.is_training or module.p == 0:
        return pass_through_costs(call, allocated=())
    elements = input_elements(call)
    forward = times(masking.per_mask_element, mask(module, call)) + times(
        masking.per_element, elements
    )
    return input_phases(
        call,
        forward_cost(call, forward, allocated=_created(module, call)),
        grad_input_cost(call, elements, needed=ZERO, allocated=input_gradients(call)),
    )


def _created(module: Any, call: Call) -> Sequence[NamedTensor] | None:
    if call.output_requires_grad:
        return None
    ignores_inplace = isinstance(module, (nn.AlphaDropout, nn.FeatureAlphaDropout))
    return () if module.inplace and not ignores_inplace else output_tensors(call)


phase_costs.register(nn.Dropout, partial(_dropout_costs, DROPOUT, _element_mask))
for kind in (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d):
    phase_costs.register(kind, partial(_dropout_costs, DROPOUT, _channel_mask))
phase_costs.register(nn.AlphaDropout, partial(_dropout_costs, ALPHA_DROPOUT, _element_mask))
phase_costs.register(nn.FeatureAlphaDropout, partial(_dropout_costs, ALPHA_DROPOUT, _channel_mask))
