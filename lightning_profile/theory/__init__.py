"""What a layer should cost: closed forms only, one file per layer family.

:func:`phase_costs` dispatches on the module's type, so a subclass inherits the formulas of its
family unless it has a forward of its own. A formula for a layer of your own takes three lines::

    @phase_costs.register(MyLinear)
    def my_linear_costs(module: MyLinear, call: Call) -> PhaseCosts:
        return product_costs(call, call.outputs[0].elements * module.in_features)
"""

from lightning_profile.records import Call, Cost, Phase, PhaseCosts
from lightning_profile.theory import (  # noqa: F401  (register their families)
    activation,
    convolution,
    dropout,
    embedding,
    free,
    linear,
    local_response,
    multihead_attention,
    normalization,
    pooling,
    recurrent,
    resampling,
)
from lightning_profile.theory.attention import ScaledDotProduct, scaled_dot_product
from lightning_profile.theory.cost import phase_cost, product_costs
from lightning_profile.theory.expression import Expression, symbol
from lightning_profile.theory.known import KnownTheory
from lightning_profile.theory.optimizer_state import optimizer_states
from lightning_profile.theory.registry import (
    cost_call,
    footprint,
    kept_activations,
    phase_costs,
)
from lightning_profile.theory.tensors import NamedTensor

__all__ = [
    "Call",
    "Cost",
    "Expression",
    "KnownTheory",
    "NamedTensor",
    "Phase",
    "PhaseCosts",
    "ScaledDotProduct",
    "cost_call",
    "footprint",
    "kept_activations",
    "optimizer_states",
    "phase_cost",
    "phase_costs",
    "product_costs",
    "scaled_dot_product",
    "symbol",
]
