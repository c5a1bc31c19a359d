"""Forward hooks that note each call of the watched layers and mark it in the trace.

Only forward hooks, and only while a window is open. Backward hooks on modules would wrap tensors
and break models that modify a layer's output in place; the backward is found in the trace.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from lightning_profile.hooks import LayerHooks
from lightning_profile.measurement.facts import (
    Arguments,
    Option,
    output_facts,
    parameter_facts,
)
from lightning_profile.measurement.graph import next_node_number
from lightning_profile.measurement.invocations import Invocation, invocation
from lightning_profile.measurement.ranges import recorded_range
from lightning_profile.measurement.saved import packs_saved, saved_bytes
from lightning_profile.measurement.tensors import tensors_in
from lightning_profile.records import Call, Layer, Phase, TensorFact

CALL_MARK = "lightning_profile.call "  # followed by the call's position in `CallRecorder.calls`


@dataclass(slots=True)
class _OpenCall:
    layer: Layer
    mark: AbstractContextManager[None]
    position: int
    phase: Phase
    parent: int | None
    inputs: tuple[TensorFact, ...]
    options: tuple[Option, ...]
    first_node: int
    packs_saved: bool  # hooks pack what autograd saves; those of this layer's own end before ours


class CallRecorder:
    """Notes the calls of layers from :meth:`attach` to :meth:`detach`.

    Attributes:
        calls: What was seen, in the order in which the calls began. An entry is ``None`` while
            its call is under way, and stays so if the call ended with an exception.
        step: The batch under way; calls outside of one (``None``) are not noted.
        invocations: Calls into graphs of ``torch.compile`` in the first step.
        fault: The first error of ours inside of a hook. The hooks run in the user's forward, so
            it is kept for the window to raise later, and nothing more is noted.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.calls: list[Call | None] = []
        self.step: int | None = None
        self.invocations: list[Invocation] = []
        self.fault: Exception | None = None
        self._layers = layers
        self._first_step: int | None = None
        self._open: list[_OpenCall] = []
        self._calls_in_step: Counter[tuple[str, int, Phase]] = Counter()
        self._arguments: dict[str, Arguments] = {}
        self._looked_at: set[str] = set()  # layers whose saved tensors were
        self._hooks = LayerHooks()

    def attach(self) -> None:
        """Add the hooks."""
        for layer in self._layers:
            self._hooks.add(self, layer)

    def detach(self) -> None:
        """Remove the hooks; safe to call at any time and more than once."""
        self._hooks.remove()
        while self._open:
            self._open.pop().mark.__exit__(None, None, None)

    def enter(self, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A forward of ``layer`` begins."""
        if self.step is None or self.fault is not None or torch._C._is_tracing():
            return
        name = layer.qualified_name
        if name not in self._arguments:
            self._arguments[name] = Arguments(layer.module)
        inputs, options = self._arguments[name].facts(args, kwargs)
        if layer.entry is not layer.module and self._first_step in (None, self.step):
            self._first_step = self.step
            self.invocations.append(invocation(layer.module, "forward", args, kwargs))
        # A forward inside of a backward pass: checkpointing recomputes activations.
        is_recomputed = torch._C._current_graph_task_id() != -1
        mark = recorded_range(f"{CALL_MARK}{len(self.calls)}")
        parent = self._open[-1].position if self._open else None
        self._open.append(
            _OpenCall(
                layer=layer,
                mark=mark,
                position=len(self.calls),
                phase=Phase.RECOMPUTE if is_recomputed else Phase.FORWARD,
                parent=parent,
                inputs=inputs,
                options=options,
                first_node=next_node_number(),
                packs_saved=packs_saved(),
            )
        )
        self.calls.append(None)
        mark.__enter__()

    def leave(self, layer: Layer, output: object) -> None:
        """A forward of ``layer`` ended."""
        if self.step is None or self.fault is not None:
            return
        if not self._open or self._open[-1].layer is not layer:
            return  # its beginning was not noted
        opened = self._open.pop()
        opened.mark.__exit__(None, None, None)
        # The hook is called while the forward's exception, if any, is being handled.
        has_failed = output is None and sys.exc_info()[0] is not None
        # A recomputation is ended by an exception once it has what it is needed for.
        if has_failed and opened.phase is Phase.FORWARD:
            return
        key = (layer.qualified_name, self.step, opened.phase)
        first = next(tensors_in(output), None)
        self.calls[opened.position] = Call(
            layer=layer.qualified_name,
            step=self.step,
            index=self._calls_in_step[key],
            phase=opened.phase,
            parent=opened.parent,
            inputs=opened.inputs,
            outputs=output_facts(output),
            parameters=parameter_facts(layer.module),
            options=opened.options,
            is_training=layer.module.training,
            device_type=first.device.type if first is not None else "",
            is_complete=not has_failed,
            activation_bytes=self._activation_bytes(opened, output),
        )
        self._calls_in_step[key] += 1

    def give_up(self, layer: Layer, fault: Exception) -> None:
        """Note nothing more."""
        self.fault = fault

    def _activation_bytes(self, opened: _OpenCall, output: object) -> int | None:
        """What the first forward of a layer without layers inside keeps for the backward."""
        layer, is_forward = opened.layer, opened.phase is Phase.FORWARD
        if layer.is_container or not is_forward or layer.qualified_name in self._looked_at:
            return None
        if opened.packs_saved:
            return None
        self._looked_at.add(layer.qualified_name)
        return saved_bytes(layer.module, output, opened.first_node)
