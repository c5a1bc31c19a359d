"""What a GPU's counters say of the example's second convolution, as a table in Markdown.

    python benchmarks/hardware_counters.py --batch_size 128

Needs an NVIDIA GPU and Nsight Compute's ncu. Each precision is one run of the tool.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn

from lightning_profile.counters import HardwareCounters, deviation_reason
from lightning_profile.records import HardwareCount, Layer, Phase, Unavailable

PRECISIONS = {
    "fp32": (torch.float32, "ieee"),
    "tf32": (torch.float32, "tf32"),
    "bf16": (torch.bfloat16, "ieee"),
    "fp16": (torch.float16, "ieee"),
}
HEADER = (
    "| precision | phase | executed ÷ theory | element-wise | read | written | kernels | time "
    "| reason |\n|---|---|---|---|---|---|---|---|---|"
)


def row(precision: str, phase: Phase, count: HardwareCount | Unavailable, theory: int) -> str:
    """One line of the table."""
    if isinstance(count, Unavailable):
        return f"| {precision} | {phase.value} | unknown: {count.text} |"
    cells = (
        precision,
        phase.value,
        _ratio(count.hardware_flop, theory),
        _scaled(count.hardware_elementwise_flop, 1e6, "MFLOP"),
        _scaled(count.dram_read_bytes, 2**20, "MiB"),
        _scaled(count.dram_write_bytes, 2**20, "MiB"),
        str(len(count.kernels)),
        _scaled(count.time_ns, 1e3, "µs"),
        deviation_reason(count, theory),
    )
    return f"| {' | '.join(cells)} |"


def _ratio(value: int | None, theory: int) -> str:
    return "unknown" if value is None else f"{value / theory:.6f}"


def _scaled(value: int | None, scale: float, unit: str) -> str:
    return "unknown" if value is None else f"{value / scale:.2f} {unit}"


def main() -> None:
    """Count both phases in every precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch_size", type=int, default=128)
    batch_size = parser.parse_args().batch_size
    theory = 2 * batch_size * 64 * 24 * 24 * 32 * 3 * 3
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n\n{HEADER}")
    seconds = []
    for precision, (dtype, float32) in PRECISIONS.items():
        torch.backends.cudnn.conv.fp32_precision = float32
        module = nn.Conv2d(32, 64, 3).to("cuda", dtype)
        inputs = torch.randn(batch_size, 32, 26, 26, device="cuda", dtype=dtype, requires_grad=True)
        layer = Layer(
            qualified_name="conv2",
            display_name="Conv2d-2",
            type_name="Conv2d",
            module=module,
            entry=module,
        )
        counters = HardwareCounters()
        capture = counters.capture([layer])
        capture.attach()
        module(inputs).float().sum().backward()
        captured = capture.detach()
        start = time.perf_counter()
        counts = counters.count(captured)
        seconds.append(time.perf_counter() - start)
        counters.close()
        for phase, products in ((Phase.FORWARD, 1), (Phase.BACKWARD, 2)):
            print(row(precision, phase, counts["conv2", phase], products * theory))
    print(f"\nOne run of the tool: {min(seconds):.1f} to {max(seconds):.1f} s.")


if __name__ == "__main__":
    main()
