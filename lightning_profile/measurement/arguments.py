"""Recorded arguments of operators, where the profiler's flat events don't have them as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class _NoArguments:
    """Stands in for an operator's flat event where there is none."""

    def flops(self) -> int:
        return 0

    def shapes(self) -> Sequence[Any]:
        return ()

    def dtypes(self) -> Sequence[str]:
        return ()

    def concrete_inputs(self) -> Sequence[Any]:
        return ()

    def start_thread_id(self) -> int:
        return 0

    def fwd_thread_id(self) -> int:
        return 0


NO_ARGUMENTS = _NoArguments()


class WithLists:
    """A flat event whose lists of tensors have their shapes, which only the event tree has."""

    def __init__(self, flat: Any, inputs: Sequence[Any]) -> None:
        self._flat = flat
        self._inputs = inputs

    def flops(self) -> int:
        """torch.profiler's own count, 0 where it has no formula."""
        return int(self._flat.flops())

    def shapes(self) -> Sequence[Any]:
        """Shape of each argument; of a list of tensors, the shape of each of them."""
        return [
            [list(tensor.sizes) for tensor in argument] if isinstance(argument, list) else shape
            for argument, shape in zip(self._inputs, self._flat.shapes(), strict=False)
        ]

    def concrete_inputs(self) -> Sequence[Any]:
        """Value of each argument, ``None`` for tensors."""
        arguments: Sequence[Any] = self._flat.concrete_inputs()
        return arguments
