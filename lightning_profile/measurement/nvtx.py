"""NVTX ranges around the forward and the backward of layers, for NVIDIA's own profilers.

The backward is marked at the nodes that the forward adds to autograd's graph, not by backward hooks
on modules: those wrap tensors and break models that modify a layer's output in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.cuda import nvtx

from lightning_profile.hooks import LayerHooks
from lightning_profile.measurement.graph import next_node_number, nodes_made
from lightning_profile.records import Layer, Phase


def has_nvtx() -> bool:
    """Whether this torch was built with NVTX, as those for CUDA are."""
    try:
        nvtx.mark("lightning_profile")  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False
    return True


@dataclass(slots=True)
class _OpenCall:
    layer: Layer
    first_node: int
    inputs: object
    marked: set[Any] = field(default_factory=set)  # nodes of the layers inside


class LayerRanges:
    """Marks each call of layers from :meth:`attach` to :meth:`detach`.

    A range is pushed and popped on the thread that computes, and named like ``Conv2d-2 forward``,
    ``Conv2d-2 recompute`` (a forward inside of the backward) or ``Conv2d-2 backward``, of which
    there is one for each of autograd's nodes: two or three for most layers. A container's
    backward is what no layer inside of it is marked for.

    Attributes:
        fault: The first error of ours inside of a hook: some ranges are missing. The hooks run in
            the user's forward, so it is kept for others to tell.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self.fault: Exception | None = None
        self._open: list[_OpenCall] = []
        self._hooks = LayerHooks()

    def attach(self) -> None:
        """Add the hooks: before all others of a forward, and after them.

        Called before each step, too: from a transformer's layer that was computed at once in the
        last one they are gone.
        """
        for layer in self._layers:
            self._hooks.add(self, layer, enters_first=True)

    def detach(self) -> None:
        """Remove the hooks; safe to call at any time and more than once."""
        self._hooks.remove()
        while self._open:
            self._open.pop()
            nvtx.range_pop()  # type: ignore[no-untyped-call]

    def enter(self, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A forward of ``layer`` begins."""
        is_recomputed = torch._C._current_graph_task_id() != -1
        phase = Phase.RECOMPUTE if is_recomputed else Phase.FORWARD
        self._open.append(_OpenCall(layer, next_node_number(), (args, kwargs)))
        nvtx.range_push(f"{layer.display_name} {phase.value}")  # type: ignore[no-untyped-call]

    def leave(self, layer: Layer, output: object) -> None:
        """A forward of ``layer`` ended, or raised."""
        if not self._open or self._open[-1].layer is not layer:
            return  # its beginning was not noticed
        call = self._open.pop()
        nvtx.range_pop()  # type: ignore[no-untyped-call]
        push = _Push(f"{layer.display_name} {Phase.BACKWARD.value}")
        nodes = set(nodes_made(output, call.first_node, call.inputs))
        for node in nodes - call.marked:
            node.register_prehook(push)
            node.register_hook(_pop)
        if self._open:
            self._open[-1].marked |= nodes | call.marked

    def give_up(self, layer: Layer, fault: Exception) -> None:
        """Keep what went wrong; a call without its ranges is better than no training."""
        self.fault = self.fault or fault


@dataclass(frozen=True, slots=True)
class _Push:
    name: str

    def __call__(self, gradients: object) -> None:
        nvtx.range_push(self.name)  # type: ignore[no-untyped-call]


def _pop(*_: object) -> None:
    nvtx.range_pop()  # type: ignore[no-untyped-call]
