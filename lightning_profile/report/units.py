"""Numbers as people read them; the only place where units are scaled."""

from __future__ import annotations

UNKNOWN = "unknown"
_DECIMAL = ("", "k", "M", "G", "T", "P")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))


def format_flop(flop: float | None) -> str:
    """A count of operations, such as ``2.718 GFLOP``."""
    return _decimal(flop, "FLOP")


def format_rate(flop_per_s: float | None) -> str:
    """A rate, such as ``306.2 GFLOP/s``."""
    return _decimal(flop_per_s, "FLOP/s")


def format_bytes(count: float | None) -> str:
    """An amount of memory in powers of 1,024, such as ``18.00 MiB``."""
    if count is None:
        return UNKNOWN
    power = 0
    while abs(count) >= 1024 and power < len(_BINARY) - 1:
        count /= 1024
        power += 1
    return f"{count:.0f} B" if power == 0 else f"{count:.2f} {_BINARY[power]}"


def format_time(time_ns: float | None) -> str:
    """A time, such as ``8.875 ms``."""
    if time_ns is None:
        return UNKNOWN
    scale, unit = next(((scale, unit) for scale, unit in _TIMES if time_ns >= scale), _TIMES[-1])
    return f"{time_ns / scale:.4g} {unit}"


def format_ratio(ratio: float | None) -> str:
    """A ratio to four significant digits, such as ``1.000``."""
    return UNKNOWN if ratio is None else f"{ratio:.3f}"


def format_share(share: float) -> str:
    """A part of a whole, such as ``12.3%``."""
    return f"{share:.1%}"


def format_exact(value: int, unit: str) -> str:
    """An exact number with its digits in groups, such as ``2,717,908,992 FLOP``."""
    return f"{value:,} {unit}".rstrip()


def _decimal(value: float | None, unit: str) -> str:
    if value is None:
        return UNKNOWN
    power = 0
    while abs(value) >= 1000 and power < len(_DECIMAL) - 1:
        value /= 1000
        power += 1
    return f"{value:.4g} {_DECIMAL[power]}{unit}"
