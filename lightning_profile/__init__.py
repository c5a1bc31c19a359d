"""What a layer should cost on paper beside what it does cost, during the real training.

What is meant to be used from here::

    LayerProfiler        the Lightning callback
    NvtxRanges           another, which marks layers for Nsight Systems and Nsight Compute
    Schedule             when in an epoch it looks
    LayerSelectionError  a name that matches no layer

The folders show the pipeline: ``selection`` finds the layers, ``measurement`` watches them,
``theory`` computes them, ``attribution`` and ``comparison`` bring both together, ``report`` shows
the result. ``mnist`` is the demo's model and data.
"""

from lightning_profile.callback import LayerProfiler
from lightning_profile.nvtx_ranges import NvtxRanges
from lightning_profile.schedule import Schedule
from lightning_profile.selection import LayerSelectionError
from lightning_profile.version import __version__

__all__ = ["LayerProfiler", "LayerSelectionError", "NvtxRanges", "Schedule", "__version__"]
