"""The least time that a layer's work can take on a device."""

from __future__ import annotations

from typing import Literal

from lightning_profile.records import ArithmeticKind, Roofline

_NS_PER_S = 1e9


def roofline(
    *,
    flop: int | None,
    traffic_bytes: int | None,
    flop_per_s: float | None,
    bytes_per_s: float | None,
    measured_time_ns: float | None = None,
    arithmetic: ArithmeticKind | None = None,
) -> Roofline:
    """The roofline of some work; whatever can't be told from what is known is ``None``.

    Arithmetic and traffic are taken to overlap completely.

    Args:
        flop: Additions and multiplications of the products.
        traffic_bytes: Reads and writes together.
        flop_per_s: The device's ceiling for this kind of arithmetic.
        bytes_per_s: Its ceiling for traffic.
        measured_time_ns: What the work took.
        arithmetic: What the products are computed in.
    """
    compute_ns = _time_ns(flop, flop_per_s)
    memory_ns = _time_ns(traffic_bytes, bytes_per_s)
    time_ns: float | None = None
    bound: Literal["compute", "memory"] | None = None
    if compute_ns is not None and memory_ns is not None:
        time_ns = max(compute_ns, memory_ns)
        if time_ns > 0:
            bound = "compute" if compute_ns >= memory_ns else "memory"
    return Roofline(
        time_ns=time_ns,
        bound=bound,
        flop_per_byte=flop / traffic_bytes if flop is not None and traffic_bytes else None,
        fraction=time_ns / measured_time_ns if time_ns is not None and measured_time_ns else None,
        arithmetic=arithmetic if flop else None,
    )


def _time_ns(amount: int | None, per_s: float | None) -> float | None:
    return amount * _NS_PER_S / per_s if amount is not None and per_s else None
