"""Kernels, copies and memsets, found among what torch.profiler recorded of the device."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from torch._C._autograd import DeviceType

from lightning_profile.records import Kernel

_HOST = DeviceType.CPU.value  # to compare the enumeration's members takes a microsecond

# The runtime's calls that launch a CUDA graph; CUPTI need not show the kernels inside.
_GRAPH_LAUNCHES = ("cudaGraphLaunch", "cuGraphLaunch")


class Launched(NamedTuple):
    """What an operator launched itself.

    Attributes:
        kernels: Kernels, copies and memsets; ``None`` where no device was recorded.
        has_graph: Whether it launched a CUDA graph.
    """

    kernels: tuple[Kernel, ...] | None
    has_graph: bool


NOT_RECORDED = Launched(None, has_graph=False)
_NOTHING = Launched((), has_graph=False)


def split_by_device(everything: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The flat events of the host, and those of the device."""
    host: list[Any] = []
    device: list[Any] = []
    for event in everything:
        (host if event.device_type().value == _HOST else device).append(event)
    return host, device


class DeviceWork:
    """What the device did, by the host's operator that launched it.

    Args:
        device_events: Its flat events.
        host_names: Names of the host's.
    """

    def __init__(self, device_events: Sequence[Any], host_names: Collection[str]) -> None:
        # The device's picture of a marked range bears the range's name and is no work.
        self._streams = {
            (name, event.start_ns()): event.device_resource_id()
            for event in device_events
            if (name := event.name()) not in host_names
        }

    @property
    def is_empty(self) -> bool:
        """Whether the device delivered nothing at all, so that it was not recorded."""
        return not self._streams

    def launched(self, device_events: Sequence[Any]) -> Launched:
        """What an operator launched.

        Args:
            device_events: Its runtime calls, what they launched, and pictures of ranges.
        """
        if not device_events:
            return _NOTHING
        kernels = []
        has_graph = False
        for event in device_events:
            name, start_ns = event.name, event.start_time_ns
            stream = self._streams.get((name, start_ns))
            if stream is None:
                has_graph |= name.startswith(_GRAPH_LAUNCHES)
                continue
            time_ns = event.duration_time_ns
            kernels.append(
                Kernel(name=name, start_ns=start_ns, device_time_ns=time_ns, stream=stream)
            )
        return Launched(tuple(kernels), has_graph)
