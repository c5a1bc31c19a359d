"""What a device reaches at best: a large matrix product per arithmetic, and a large copy.

A training must not notice: operands are filled without the global random numbers, on a GPU they lie
beside the caching allocator's memory, no graph is recorded, and torch's switches of arithmetic are
as before. They are the process's, though, so nothing else may compute meanwhile; and a profiler
that is recording would see the products. Call it where no step runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor

from lightning_profile.devices.precision import fp32_accumulation, precision
from lightning_profile.devices.stopwatch import CpuStopwatch, CudaStopwatch, Stopwatch
from lightning_profile.records import ARITHMETIC_KINDS, ArithmeticKind, Ceilings

_DTYPES: Mapping[ArithmeticKind, torch.dtype] = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8": torch.float8_e4m3fn,
}
_MakeProduct = Callable[[Tensor, int, torch.dtype], Callable[[], object]]
_FP32_PRECISION: Mapping[ArithmeticKind, str] = {"fp32": "ieee", "tf32": "tf32"}
_SMALLEST, _LARGEST = 256, 8192  # rows and columns of the factors; powers of two
_TILE_ELEMENTS = _SMALLEST**2  # so that every factor is whole tiles
_SCALE_BYTES = 256


def measure_ceilings(device: torch.device) -> Ceilings:
    """Measure ``device``, in about one or two seconds.

    Args:
        device: A CPU or an NVIDIA GPU; of any other device everything is unknown.

    Returns:
        The best rates that were seen: ``None`` for what the device has no operator for, and for
        everything if there is too little free memory.
    """
    unknown = Ceilings(
        flop_per_s=dict.fromkeys(ARITHMETIC_KINDS), bytes_per_s=None, source="not measured"
    )
    if device.type == "cpu":
        watch: Stopwatch = CpuStopwatch()
    elif device.type == "cuda":
        watch = CudaStopwatch(device)
    else:
        return unknown
    with torch.no_grad(), watch.arena() as arena:
        if arena is None:
            return unknown
        return Ceilings(
            bytes_per_s=_copy_bytes_per_s(watch, arena),  # first: it touches every page
            flop_per_s={kind: _flop_per_s(watch, arena, kind) for kind in ARITHMETIC_KINDS},
            source=f"measured: matrix products and a copy, torch {torch.__version__}",
        )


def _copy_bytes_per_s(watch: Stopwatch, arena: Tensor) -> float | None:
    source, target = arena.view(2, -1)
    try:
        source.fill_(1)
        target.fill_(0)
        return arena.numel() / _least_seconds(watch, lambda: target.copy_(source))
    except RuntimeError:
        return None


def _flop_per_s(watch: Stopwatch, arena: Tensor, kind: ArithmeticKind) -> float | None:
    if not _is_supported(watch.device, kind):
        return None
    setting = _FP32_PRECISION.get(kind)
    try:
        with (
            fp32_accumulation(),
            precision(watch.matmul_setting, setting) if setting else nullcontext(),
        ):
            return max(
                _best_product_flop_per_s(watch, arena, _DTYPES[kind], make_product)
                for make_product in _products(watch.device, kind)
            )
    except (RuntimeError, ValueError):  # no such operator here, or no memory for its workspace
        return None


def _is_supported(device: torch.device, kind: ArithmeticKind) -> bool:
    if device.type == "cpu":
        return kind not in ("tf32", "fp8")
    capability = torch.cuda.get_device_capability(device)
    first: Mapping[ArithmeticKind, tuple[int, int]] = {
        "tf32": (8, 0),
        "bf16": (8, 0),  # older GPUs compute it in fp32
        "fp8": (8, 9),
    }
    return capability >= first.get(kind, (0, 0))


def _products(device: torch.device, kind: ArithmeticKind) -> list[_MakeProduct]:
    # MKL, behind `torch.mm`, does not use all that processors of other makers can do; oneDNN,
    # which computes convolutions, does.
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    is_float32_on_cpu = device.type == "cpu" and kind == "fp32"
    return [_product, _onednn_product] if is_float32_on_cpu and has_onednn else [_product]


def _best_product_flop_per_s(
    watch: Stopwatch, arena: Tensor, dtype: torch.dtype, make_product: _MakeProduct
) -> float:
    """The best rate of products of growing size, until one takes long enough to be timed well."""
    best, size = 0.0, _SMALLEST
    while True:
        product = make_product(arena, size, dtype)
        product()  # the first one chooses the kernel
        seconds = _least_seconds(watch, product)
        best = max(best, 2 * size**3 / seconds)
        is_last = size == _LARGEST or _product_bytes(2 * size, dtype) > arena.numel()
        if is_last or seconds >= watch.long_enough_s:
            return best
        size *= 2


def _least_seconds(watch: Stopwatch, action: Callable[[], object]) -> float:
    deadline = time.perf_counter() + watch.patience_s
    least = watch.seconds(action)
    while time.perf_counter() < deadline:
        least = min(least, watch.seconds(action))
    return least


def _onednn_product(arena: Tensor, size: int, dtype: torch.dtype) -> Callable[[], object]:
    """The same by oneDNN, which has no operator that writes to memory of ours."""
    factors = arena[: 2 * size * size * dtype.itemsize]
    _fill(factors.view(dtype))
    left, right = factors.view(dtype).view(2, size, size)
    left = left.to_mkldnn()
    return lambda: torch.ops.aten.mkldnn_linear(left, right)


def _product(arena: Tensor, size: int, dtype: torch.dtype) -> Callable[[], object]:
    """A product of two ``size`` × ``size`` factors that lie in ``arena``, as its result does."""
    elements = size * size
    result_dtype = torch.bfloat16 if dtype == torch.float8_e4m3fn else dtype
    factors_bytes = 2 * elements * dtype.itemsize
    _fill(arena[:factors_bytes].view(dtype))
    left, right = arena[:factors_bytes].view(dtype).view(2, size, size)
    rest = arena[factors_bytes:]
    result = rest[: elements * result_dtype.itemsize].view(result_dtype).view(size, size)
    if dtype != torch.float8_e4m3fn:
        return lambda: torch.mm(left, right, out=result)  # autocast leaves it alone: it has an out
    scale = arena[-_SCALE_BYTES:].view(torch.float32)[:1].view(())
    scale.fill_(1.0)
    return lambda: torch._scaled_mm(
        left, right.t(), scale, scale, out_dtype=result_dtype, out=result
    )


def _product_bytes(size: int, dtype: torch.dtype) -> int:
    return 3 * size * size * max(dtype.itemsize, 2) + _SCALE_BYTES


def _fill(factors: Tensor) -> None:
    """Numbers as in a training: zeros, subnormals and NaNs would have a speed of their own."""
    tile = torch.empty(_TILE_ELEMENTS, dtype=torch.float32, device="cpu")
    tile.uniform_(-1, 1, generator=torch.Generator(device="cpu"))
    tiles = factors.view(-1, _TILE_ELEMENTS)
    tiles[0].copy_(tile.to(factors.dtype))
    tiles[1:].copy_(tiles[:1].expand_as(tiles[1:]))
