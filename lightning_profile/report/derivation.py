"""The derivation of a layer's cost as it would be written on paper, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_profile.records import Derivation, Equation, Phase
from lightning_profile.report.units import format_exact

_TITLES = {
    Phase.FORWARD: "Forward",
    Phase.GRAD_INPUT: "Backward, gradient of the input (grad_input)",
    Phase.GRAD_WEIGHT: "Backward, gradient of the weights (grad_weight)",
}
_CONVENTIONS = (
    "A multiply-accumulate is 2 FLOPs; compulsory traffic moves each operand of a product once."
)


def format_derivation(derivation: Derivation) -> str:
    """Every formula in symbols, with the numbers put in, and its value."""
    call = derivation.call
    shapes = " → ".join(
        ", ".join(_shape(tensor.shape) for tensor in tensors)
        for tensors in (call.inputs, call.outputs)
    )
    parts = [
        f"### {derivation.layer.display_name} (`{derivation.layer.qualified_name}`)",
        f"`{derivation.layer.module!r}`",
        f"{shapes}, {str(call.dtype).removeprefix('torch.')}. {_CONVENTIONS}",
    ]
    if derivation.costs is None:
        parts.append(f"Unknown: {derivation.reason}.")
    for phase, cost in (derivation.costs or {}).items():
        parts += [f"#### {_TITLES[phase]}", _block(cost.derivation)]
    if derivation.footprint:
        parts += ["#### Kept in memory", _block(derivation.footprint)]
    return "\n\n".join(parts)


def _block(equations: Sequence[Equation]) -> str:
    return "\n".join(["```", "\n\n".join(_lines(equation) for equation in equations), "```"])


def _lines(equation: Equation) -> str:
    """The formula in symbols, in numbers, and its value, equals signs below each other."""
    name = equation.quantity
    if name.endswith("_bytes"):  # a column's name, read as words
        name = name.removesuffix("_bytes").replace("_", " ")
    steps = (equation.symbols, equation.numbers, format_exact(equation.value, equation.unit))
    return f"{name} = " + f"\n{' ' * len(name)} = ".join(dict.fromkeys(steps))


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"
