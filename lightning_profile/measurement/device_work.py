"""Kernels, copies and memsets, found among what torch.profiler recorded of the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch._C._autograd import DeviceType

from lightning_profile.records import Kernel

# The runtime's calls that launch a CUDA graph; CUPTI need not show the kernels inside.
_GRAPH_LAUNCHES = ("cudaGraphLaunch", "cuGraphLaunch")


class DeviceWork:
    """What the device did, by the host's operator that launched it.

    Args:
        everything: All flat events, the host's and the device's.

    Attributes:
        host: Those of the host.
    """

    def __init__(self, everything: Sequence[Any]) -> None:
        self.host = [event for event in everything if event.device_type() == DeviceType.CPU]
        # The device's picture of a marked range bears the range's name and is no work.
        host_names = {event.name() for event in self.host}
        self._streams = {
            (event.name(), event.start_ns()): event.device_resource_id()
            for event in everything
            if event.device_type() != DeviceType.CPU and event.name() not in host_names
        }

    @property
    def is_empty(self) -> bool:
        """Whether the device delivered nothing at all, so that it was not recorded."""
        return not self._streams

    def among(self, device_events: Sequence[Any]) -> tuple[Kernel, ...]:
        """The work among an operator's runtime calls, what they launched and pictures of ranges."""
        kernels = []
        for event in device_events:
            name, start_ns = event.name, event.start_time_ns
            stream = self._streams.get((name, start_ns))
            if stream is not None:
                kernels.append(
                    Kernel(
                        name=name,
                        start_ns=start_ns,
                        device_time_ns=event.duration_time_ns,
                        stream=stream,
                    )
                )
        return tuple(kernels)


def launches_graph(device_events: Sequence[Any]) -> bool:
    """Whether a CUDA graph is launched by one of an operator's runtime calls."""
    return any(event.name.startswith(_GRAPH_LAUNCHES) for event in device_events)
