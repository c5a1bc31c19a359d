"""One kernel, one input, two times: it depends on where the weight's gradient lies.

    python benchmarks/gradient_address.py

In fp32 cuDNN computes the weight gradient of the MNIST CNN's first convolution, at batch 1024, by
``wgrad_alg0_engine``. That one adds all of its sums into 288 numbers. The program computes it at
many addresses, several times at each. Needs an NVIDIA GPU.
"""

from __future__ import annotations

import os
from itertools import pairwise
from statistics import median

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

KERNEL = "wgrad_alg0_engine"
BATCH, CHANNELS, SIZE = 1024, 32, 28
ADDRESSES, REPETITIONS = 120, 3


def weight_gradient(gradient: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    """What autograd computes of conv1 for its weight."""
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient,
        images,
        weight,
        None,
        [1, 1],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        1,
        [False, True, False],
    )[1]
    return found


def main() -> None:
    """Print the times, sorted, and how far those at one address are from each other."""
    torch.backends.cudnn.allow_tf32 = False
    images = torch.randn(BATCH, 1, SIZE, SIZE, device="cuda")
    weight = torch.randn(CHANNELS, 1, 3, 3, device="cuda")
    gradient = torch.randn(BATCH, CHANNELS, SIZE - 2, SIZE - 2, device="cuda")
    for _ in range(3):
        weight_gradient(gradient, images, weight)
    held: list[Tensor] = []  # so that the next gradient lies elsewhere
    times_us: list[float] = []
    spreads: list[float] = []
    for _ in range(ADDRESSES):
        addresses = set()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
            for repetition in range(REPETITIONS):
                found = weight_gradient(gradient, images, weight)
                addresses.add(found.data_ptr())
                if repetition < REPETITIONS - 1:
                    del found  # the allocator hands the same block out again
            torch.cuda.synchronize()
        held.append(found)
        here = [event.device_time for event in recorded.events() if KERNEL in event.name]
        if len(addresses) == 1 and len(here) == REPETITIONS:
            times_us.append(median(here))
            spreads.append(max(here) - min(here))
    times_us.sort()
    gaps = [after - before for before, after in pairwise(times_us)]
    split = gaps.index(max(gaps)) + 1
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {KERNEL}")
    for name, group in (("fast", times_us[:split]), ("slow", times_us[split:])):
        print(f"{name}: {len(group)} addresses, {group[0]:.1f} to {group[-1]:.1f} µs")
    print(
        f"at one address, {REPETITIONS} times: {median(spreads):.1f} µs apart (median), "
        f"{max(spreads):.1f} at most"
    )


if __name__ == "__main__":
    main()
