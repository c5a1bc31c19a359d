"""What ``ncu --csv --page raw --print-units base`` printed, as records.

Before the table stand lines of the tool's own. The table has a row of units under its header, a
row per kernel in the order of the launches, ``.avg``, ``.max`` and ``.min`` beside each ``.sum``,
and commas between thousands.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping

from lightning_profile.counters.metrics import SCALAR_INSTRUCTIONS, Metrics
from lightning_profile.counters.products import arithmetic_of, product_flop
from lightning_profile.records import ExecutedFlop, HardwareKernel

_HEADER_START = '"ID","Process ID"'
_OWN_LINE = "=="  # the tool's own lines, such as ==WARNING==
_UNITS = {"byte", "ns", "nsecond", "inst", ""}  # what base units are called
_NAME = "Kernel Name"
_UNKNOWN = {"", "n/a", "nan"}


class UnreadableOutputError(ValueError):
    """The tool's output is not what it should be; the message says in what."""


def read_kernels(output: str, metrics: Metrics) -> list[HardwareKernel]:
    """Every profiled kernel, in the order of the launches.

    Args:
        output: What the tool printed.
        metrics: What it was asked for.

    Raises:
        UnreadableOutputError: If there is no table, or not with these metrics in base units.
    """
    lines = output.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(_HEADER_START)), None)
    if start is None:
        raise UnreadableOutputError("there is no table of kernels")
    rows = csv.reader(line for line in lines[start:] if not line.startswith(_OWN_LINE))
    header = next(rows)
    units = dict(zip(header, next(rows, ()), strict=False))
    missing = [name for name in (_NAME, *metrics.names) if name not in units]
    if missing:
        raise UnreadableOutputError(f"there is no column {missing[0]}")
    for name in metrics.names:
        if units[name] not in _UNITS:
            raise UnreadableOutputError(f"{name} is in {units[name]}")
    return [
        _kernel(dict(zip(header, row, strict=True)), metrics)
        for row in rows
        if len(row) == len(header)
    ]


def split_at(marker: str, kernels: Iterable[HardwareKernel]) -> list[tuple[HardwareKernel, ...]]:
    """The kernels after each one that has ``marker`` in its name, up to the next of them."""
    parts: list[list[HardwareKernel]] = []
    for kernel in kernels:
        if marker in kernel.name:
            parts.append([])
        elif parts:
            parts[-1].append(kernel)
        else:
            raise UnreadableOutputError(f"{kernel.name} stands before the first marker")
    return [tuple(part) for part in parts]


def _kernel(row: Mapping[str, str], metrics: Metrics) -> HardwareKernel:
    executed = [
        ExecutedFlop(unit="tensor", arithmetic=_arithmetic(name), flop=flop)
        for name, metric in metrics.tensor.items()
        if (flop := _number(row, metric))
    ]
    for name, metric in metrics.scalar.items():
        if instructions := _number(row, metric):
            kind = SCALAR_INSTRUCTIONS[name]
            executed.append(
                ExecutedFlop(
                    unit=kind.unit, arithmetic=kind.arithmetic, flop=kind.flop * instructions
                )
            )
    is_complete = metrics.has_all_units and not any(
        _number(row, metric) is None
        for metric in (*metrics.tensor.values(), *metrics.scalar.values())
    )
    arithmetic = arithmetic_of(executed)
    flop = product_flop(row[_NAME], arithmetic) if is_complete else None
    return HardwareKernel(
        name=row[_NAME],
        executed=arithmetic,
        product_flop=flop,
        elementwise_flop=None if flop is None else sum(part.flop for part in arithmetic) - flop,
        dram_read_bytes=_number(row, metrics.dram_read),
        dram_write_bytes=_number(row, metrics.dram_write),
        time_ns=_number(row, metrics.time),
    )


def _arithmetic(source: str) -> str:
    """``bf16`` of ``bf16_dst_fp32``: what the operands are."""
    return source.partition("_dst_")[0].partition("_sparsity_")[0]


def _number(row: Mapping[str, str], metric: str | None) -> int | None:
    text = row[metric] if metric is not None else ""
    if text in _UNKNOWN:
        return None
    try:
        return round(float(text.replace(",", "")))
    except ValueError:
        raise UnreadableOutputError(f"{metric} is {text!r}, which is no number") from None
