"""What a layer should cost: closed forms only, one file per layer family.

:func:`phase_costs` and :func:`footprint` dispatch on the module's type, so a subclass inherits
the formulas of its family. A formula for a layer of your own is registered from outside::

    @phase_costs.register(MyLayer)
    def _(module: MyLayer, call: Call) -> dict[Phase, Cost]: ...
"""

from lightning_profile.theory import convolution  # noqa: F401  (registers its family)
from lightning_profile.theory.optimizer_state import optimizer_state
from lightning_profile.theory.registry import cost_calls, footprint, phase_costs

__all__ = ["cost_calls", "footprint", "optimizer_state", "phase_costs"]
