"""Why something is unknown, and what else to know of a row, in words."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_profile.records import CostedCall, Measurement, MemoryTable, Phase

NOT_RUN = "no call of it was recorded: it did not run, or not where its calls can be seen"
IN_GRAPH = "runs inside of a compiled graph, where it can't be observed"
NO_SHAPES = "its shapes could not be inferred: {}"
GRAPH_INSIDE = "theory unknown: it runs a compiled graph"
GRAPH_COUNT = "counted FLOPs unknown: it runs a compiled graph"
SOME_STEPS = "ran in {} of {} recorded steps"
OTHER_SHAPES = "its {} recorded steps differ in shapes: shown are {}"
NO_BACKWARD = "has no backward: no gradient is needed"
NOT_RECORDED = "no operator of its {} was recorded"
OWN_PRODUCTS = "theory unknown: it runs products of its own ({})"
REPEATED = "theory unknown: its backward ran more than once in a step, or was differentiated itself"
PARTIAL = (
    "theory unknown: its backward ran in part, as gradients were asked for by name (such as by "
    "torch.autograd.grad)"
)
KEPT = "theory unknown: checkpointing had kept some of its results, and only the rest ran again"
NO_COUNT = "counted FLOPs unknown: no formula for {}"
CASTS = "includes casts: {}"
EXCEEDED = (
    "roofline by measured ceilings unknown: a layer is faster than they are, perhaps because the "
    "machine was busy; the next training measures them anew"
)
NO_DEVICE_TIME = (
    "device time unknown: the GPU delivered no events, as under Nsight or where profiling is "
    "forbidden"
)
NOT_ALLOCATED = "theory differs from fact: no block that outlives the phase fits {}"
CUDA_GRAPH = "device time unknown: it launches a CUDA graph, whose kernels can't be told apart"
HIDDEN_OPTIMIZER = (
    "the optimizer's step is in here: what it did itself can't be told from its closure"
)
NO_OPTIMIZER = (
    "no step of an optimizer was recorded, as between those of accumulated gradients: a window of "
    "more steps (schedule.active) may have one"
)
MAY_CLIP = "clipping of gradients, if the step begins with it, is in here ({})"

_CLIPS = ("norm", "clamp")  # operators of torch's clipping, by norm and by value
_GRAPH_RANGES = ("Torch-Compiled Region", "CompiledFunction")  # what torch.compile marks


def why_not_measured(phase: Phase, calls: Sequence[CostedCall]) -> str:
    """Why a phase has no measurement."""
    if not calls:
        return NOT_RUN
    if phase is Phase.BACKWARD and not any(call.call.output_requires_grad for call in calls):
        return NO_BACKWARD
    return NOT_RECORDED.format(phase.value)


def has_compiled_graph(operators: Sequence[str]) -> bool:
    """Whether a graph of ``torch.compile`` ran among the operators."""
    return any(name.startswith(_GRAPH_RANGES) for name in operators)


def count_note(measured: Measurement) -> str:
    """Which operators have no formula; empty if all have one."""
    if not measured.uncounted:
        return ""
    if has_compiled_graph(measured.uncounted):
        return GRAPH_COUNT
    return NO_COUNT.format(", ".join(measured.uncounted))


def cast_note(measured: Measurement) -> str:
    """Which casts ran; empty if none did."""
    casts = [f"{count} × {kind}" for kind, count in measured.casts]
    return CASTS.format(", ".join(casts)) if casts else ""


def residual_note(memory: MemoryTable) -> str:
    """Which tensors of theory were not allocated."""
    names = [part.name for part in memory.parts if part.operator is None]
    return NOT_ALLOCATED.format(", ".join(names))


def device_note(measured: Measurement, calls: Sequence[CostedCall]) -> str:
    """Why the device time is unknown; empty if it is not, or if nothing ran on a device."""
    if measured.on_device is None:
        is_unseen = any(call.call.device_type == "cuda" for call in calls)
        return NO_DEVICE_TIME if is_unseen else ""
    return CUDA_GRAPH if measured.on_device.launches_graph else ""


def optimizer_note(measured: Measurement, *, lacks_optimizer: bool) -> str:
    """What else is in the row of the optimizer, or where the optimizer is."""
    if measured.hides_optimizer:
        return HIDDEN_OPTIMIZER
    if not measured.is_optimizer:
        return NO_OPTIMIZER if lacks_optimizer else ""
    clips = [use.name for use in measured.operators if any(word in use.name for word in _CLIPS)]
    return MAY_CLIP.format(", ".join(clips)) if clips else ""
