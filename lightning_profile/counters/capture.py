"""Keeps live calls of layers, with the data, so that another process can repeat them.

One call for each layer and geometry: its arguments are copied to the host before the forward, the
gradients of its outputs when they arrive in the backward pass. Forward hooks on the modules and
hooks on the output tensors do it; both only look, and are gone after the step. The copies wait
for the device, so a step that is captured is no step to be timed.

A gradient is that of the output as the layer returned it, also if something changes the output in
place afterwards: a tensor's hook stays with the version that it was registered on.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lightning_profile.counters.captured import CapturedCall, CapturedLayer
from lightning_profile.counters.geometry import Geometry, device_of, geometry_of
from lightning_profile.counters.package import ReplayPackage, save_package
from lightning_profile.counters.pickling import problem_with
from lightning_profile.counters.settings import Settings, read_settings
from lightning_profile.counters.tensors import (
    StoredTensor,
    UncopyableError,
    leaves_of,
    store,
    store_all,
)
from lightning_profile.hooks import LayerHooks
from lightning_profile.records import Layer, Unavailable, UnavailableCause

MAX_GEOMETRIES = 8  # of one layer in a step; each is a copy in memory and a part of the replay
_REMEDY = "profile the model without torch.compile to count this layer"


@dataclass(slots=True, kw_only=True, eq=False)
class _Alike:
    """Calls of one geometry, while the step runs."""

    geometry: Geometry
    device: torch.device
    settings: Settings
    arguments: tuple[tuple[Any, ...], Mapping[str, Any]] | None
    calls: int = 0
    backward_calls: int = 0
    kept: _OpenCall | None = None  # the one whose gradients are kept
    gradients: list[StoredTensor | None] = field(default_factory=list)


@dataclass(slots=True, kw_only=True, eq=False)
class _OpenCall:
    alike: _Alike
    outputs: int = 0
    has_backward: bool = False


class CallCapture:
    """Keeps the calls of layers from :meth:`attach` to :meth:`detach`, which is one step.

    Args:
        layers: What to look at.
        folder: Where the packages go.
        known: Geometries that need no package.
    """

    def __init__(
        self, layers: Sequence[Layer], folder: Path, known: Container[Geometry] = ()
    ) -> None:
        self._folder = folder
        self._known = known
        self._kept: set[Geometry] = set()
        self._layers = layers
        self._alike: dict[str, dict[Geometry, _Alike]] = {
            layer.qualified_name: {} for layer in layers
        }
        self._unavailable: dict[str, Unavailable] = {}
        self._open: list[tuple[Layer, _OpenCall | None]] = []
        self._hooks = LayerHooks()
        self._handles: list[RemovableHandle] = []  # on autograd's nodes

    def attach(self) -> None:
        """Add the hooks; what can't be captured is noted instead."""
        for layer in self._layers:
            try:
                self._attach(layer)
            except Exception as fault:
                self.give_up(layer, fault)

    def _attach(self, layer: Layer) -> None:
        if layer.in_compiled_graph or layer.entry is not layer.module:
            self._give_up(layer, "it runs inside of a graph of torch.compile", _REMEDY)
        elif problem := problem_with(layer.module):
            reason = f"another process can't repeat it: {problem}"
            self._give_up(layer, reason, _remedy(problem))
        else:
            # After the user's, which may change the arguments; before theirs, which may change the
            # output.
            self._hooks.add(self, layer, leaves_first=True)

    def detach(self) -> tuple[CapturedLayer, ...]:
        """Remove the hooks, and write what was kept; safe to call at any time and again."""
        self._hooks.remove()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._open.clear()
        captured = tuple(self._finish(layer) for layer in self._layers)
        self._alike = {name: {} for name in self._alike}
        return captured

    def enter(self, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A forward of ``layer`` begins."""
        # Not the forward inside of a backward pass, which checkpointing repeats.
        if torch._C._current_graph_task_id() != -1 or layer.qualified_name in self._unavailable:
            self._open.append((layer, None))
            return
        device = device_of(layer.module, args, kwargs)
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            self._give_up(layer, "it is being recorded into a CUDA graph")
            self._open.append((layer, None))
            return
        settings = read_settings(device.type)
        geometry = geometry_of(layer, args, kwargs, settings)
        all_alike = self._alike[layer.qualified_name]
        if geometry not in all_alike:
            if len(all_alike) == MAX_GEOMETRIES:
                self._give_up(layer, f"it is called in more than {MAX_GEOMETRIES} ways in a step")
                self._open.append((layer, None))
                return
            is_known = geometry in self._known or geometry in self._kept
            self._kept.add(geometry)
            all_alike[geometry] = _Alike(
                geometry=geometry,
                device=device,
                settings=settings,
                arguments=None if is_known else store_all((args, dict(kwargs))),
            )
        self._open.append((layer, _OpenCall(alike=all_alike[geometry])))

    def leave(self, layer: Layer, output: object) -> None:
        """A forward of ``layer`` ended."""
        if not self._open or self._open[-1][0] is not layer:
            return  # its beginning was not noticed
        _, call = self._open.pop()
        if call is None:
            return
        tensors = [leaf for leaf in leaves_of(output) if isinstance(leaf, torch.Tensor)]
        if not tensors:
            if output is not None:  # it is None if the forward raised
                self._give_up(layer, f"its output is a {type(output).__name__} without tensors")
            return
        call.alike.calls += 1
        call.outputs = len(tensors)
        for index, tensor in enumerate(tensors):
            if tensor.requires_grad:
                hook = partial(self._note_gradient, layer, call, index)
                self._handles.append(tensor.register_hook(hook))  # type: ignore[no-untyped-call]

    def give_up(self, layer: Layer, fault: Exception) -> None:
        """Keep why ``layer`` can't be captured, and nothing else of it."""
        if isinstance(fault, UncopyableError):
            self._give_up(layer, f"it was called with {fault}")
        else:
            self._give_up(layer, f"it could not be captured ({type(fault).__name__}: {fault})")

    def _note_gradient(
        self, layer: Layer, call: _OpenCall, index: int, gradient: torch.Tensor
    ) -> None:
        try:
            alike = call.alike
            if not call.has_backward:
                call.has_backward = True
                alike.backward_calls += 1
            if alike.arguments is None or layer.qualified_name in self._unavailable:
                return
            if alike.kept is None:
                alike.kept = call
                alike.gradients = [None] * call.outputs
            if alike.kept is call and alike.gradients[index] is None:
                alike.gradients[index] = store(gradient)
        except Exception as fault:
            self.give_up(layer, fault)

    def _give_up(self, layer: Layer, reason: str, remedy: str = "") -> None:
        self._alike[layer.qualified_name].clear()
        self._unavailable[layer.qualified_name] = Unavailable(
            cause=UnavailableCause.NOT_CAPTURED, reason=reason, remedy=remedy
        )

    def _finish(self, layer: Layer) -> CapturedLayer:
        calls: tuple[CapturedCall, ...] = ()
        try:
            calls = tuple(
                self._save(layer.module, alike)
                for alike in self._alike[layer.qualified_name].values()
                if alike.calls
            )
        except Exception as fault:  # pickling may raise anything
            self._give_up(
                layer,
                f"it can't be pickled ({type(fault).__name__}: {fault})",
                "keep lambdas, locks and open files out of the module",
            )
        return CapturedLayer(
            layer=layer,
            calls=calls,
            unavailable=self._unavailable.get(layer.qualified_name),
        )

    def _save(self, module: nn.Module, alike: _Alike) -> CapturedCall:
        path = None
        if alike.arguments is not None:
            path = self._folder / f"{len(list(self._folder.iterdir())):04d}.pt"
            package = ReplayPackage(
                module=module,
                args=alike.arguments[0],
                kwargs=alike.arguments[1],
                gradients=tuple(alike.gradients),
                settings=alike.settings,
                device=alike.device,
            )
            unfinished = path.with_suffix(".unfinished")
            save_package(package, unfinished)
            unfinished.rename(path)
        return CapturedCall(
            geometry=alike.geometry,
            device=alike.device,
            calls=alike.calls,
            backward_calls=alike.backward_calls,
            package=path,
        )


def _remedy(problem: str) -> str:
    in_script = "defined in the script" in problem
    return "move the class into a module that can be imported" if in_script else ""
