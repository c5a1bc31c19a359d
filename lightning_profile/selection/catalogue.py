"""Every layer of a model, with the names that people know it by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from lightning_profile.records import ROOT_NAME, Layer

# What wrappers (torch.compile, activation checkpointing, FSDP) call the module that they wrap.
_WRAPPED = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The layers of a model in definition order, containers before what is in them.

    Attributes:
        layers: Each module once.
        names: Every qualified name, also the second one of a shared module, to its layer.
    """

    layers: list[Layer]
    names: dict[str, Layer]

    def inside(self, container: Layer) -> list[Layer]:
        """The layers that are part of ``container``, at any depth."""
        modules = {id(module) for module in container.module.modules()}
        return [
            layer for layer in self.layers if id(layer.module) in modules and layer is not container
        ]


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    module: nn.Module
    entry: nn.Module
    is_container: bool
    in_compiled_graph: bool
    fused_in: nn.TransformerEncoderLayer | None


def list_layers(model: nn.Module) -> Catalogue:
    """All modules of ``model`` that are layers, numbered per type (``Conv2d-1``, ``Conv2d-2``)."""
    # Lightning compiles the methods of a compiled model, training_step included.
    is_compiled = getattr(model, "_compiler_ctx", None) is not None
    counts: Counter[str] = Counter()
    by_module: dict[int, Layer] = {}
    names: dict[str, Layer] = {}
    for found in _walk(model, "", entry=None, in_compiled_graph=is_compiled):
        layer = by_module.get(id(found.module))
        if layer is None:
            type_name = _type_name(found.module)
            counts[type_name] += 1
            layer = by_module[id(found.module)] = Layer(
                qualified_name=found.name or ROOT_NAME,
                display_name=f"{type_name}-{counts[type_name]}",
                type_name=type_name,
                module=found.module,
                entry=found.entry,
                is_container=found.is_container,
                in_compiled_graph=found.in_compiled_graph,
                fused_in=found.fused_in,
            )
        names[found.name or ROOT_NAME] = layer
    return Catalogue(list(by_module.values()), names)


def _walk(
    module: nn.Module,
    name: str,
    *,
    entry: nn.Module | None,
    in_compiled_graph: bool,
    fused_in: nn.TransformerEncoderLayer | None = None,
) -> Iterator[_Found]:
    if _is_metric(module):
        return
    wrapped = next((module._modules[key] for key in _WRAPPED if key in module._modules), None)
    if wrapped is not None:
        # Of a compiled module only the wrapper's call can be seen.
        is_compiler = "_orig_mod" in module._modules
        yield from _walk(
            wrapped,
            name,
            entry=module if is_compiler else entry,
            in_compiled_graph=in_compiled_graph,
            fused_in=fused_in,
        )
        return
    # Compiled in place: its own call is part of the graph too.
    in_compiled_graph |= getattr(module, "_compiled_call_impl", None) is not None
    # With a forward of its own, too: that may end in torch's.
    if fused_in is None and isinstance(module, nn.TransformerEncoderLayer):
        fused_in = module
    children = _layers_in(module)
    entered = module if entry is None else entry  # a compiled one may have no truth value
    yield _Found(name, module, entered, bool(children), in_compiled_graph, fused_in)
    for key, child in children.items():
        yield from _walk(
            child,
            f"{name}.{key}" if name else key,
            entry=None,
            in_compiled_graph=in_compiled_graph or entry is not None,
            fused_in=fused_in,
        )


def _layers_in(module: nn.Module) -> dict[str, nn.Module]:
    """Children that run as layers of their own."""
    if isinstance(module, nn.MultiheadAttention):
        return {}  # it uses its projection's weights, and never calls it
    return {
        key: child
        for key, child in module._modules.items()
        if child is not None
        and not _is_metric(child)
        # What computes a parametrized layer's weights is part of the layer.
        and not (key == "parametrizations" and parametrize.is_parametrized(module))
    }


def _type_name(module: nn.Module) -> str:
    """The class's name; of a lazy or parametrized module that of what it really is."""
    if isinstance(module, LazyModuleMixin) and module.cls_to_become is not None:
        return module.cls_to_become.__name__
    name: str = parametrize.type_before_parametrizations(module).__name__
    return name


def _is_metric(module: nn.Module) -> bool:
    """Whether this is a torchmetrics metric: a module to torch, but no layer."""
    return any(base.__module__.startswith("torchmetrics.") for base in type(module).__mro__)
