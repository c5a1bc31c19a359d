"""What a kernel does, told by its name.

Nobody documents the names. The patterns are those of kernels seen in recordings, and of names in
PyTorch's sources (``aten/src/ATen/native/cuda``), CUTLASS's, NCCL's and Inductor's; cuDNN and
cuBLAS have none. Template arguments are part of a name, so the order matters: an element-wise
kernel may bear the name of anything in its functor. What matches nothing is ``other``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from lightning_profile.records import KernelKind, Phase

# Sums the parts of a product that was split along its reduction. cuDNN's split_k_kernel bears the
# product's name, but an H100's counters see nothing but additions and scaling in it.
_SPLIT_SUM = r"split_?k_?(reduce|reduction|kernel)|reduce_?(split_?k|wgrad)"
_PATTERNS: tuple[tuple[KernelKind, str], ...] = (
    ("memset or copy", r"^Mem(set|cpy)\b"),
    ("communication", r"^nccl|nvshmem|all_reduce|all_gather|reduce_scatter"),
    # Inductor names its kernels by what they are: template, reduction, point-wise.
    ("matrix product", r"^triton_(tem|mm|bmm)_"),
    ("reduction", r"^triton_(red|per|split_scan)_"),
    ("elementwise or bias", r"^triton_(poi|for)_"),
    # ATen: the functor inside of the generic kernels tells copies from arithmetic.
    ("memset or copy", r"copy_kernel_cuda|FillFunctor|CatArrayBatchedCopy"),
    ("reduction", r"\breduce_kernel<|LpNormFunctor"),
    ("elementwise or bias", r"elementwise_kernel|multi_tensor_apply_kernel|index_elementwise"),
    # cuDNN: what is around its products.
    ("transform", r"fft|winograd|pointwise_mult_and_sum_complex"),
    ("layout conversion", r"n[cdhw]+(To|2)n[cdhw]+|foldedNhwc|nhwcAddPadding|convertTensor"),
    ("layout conversion", r"flip_filter|tensorTransform|transpose_|im2col|col2im|vol2col|col2vol"),
    ("memset or copy", r"init_device_workspace|cudnn::ops::setTensor|scalePackedTensor_kernel"),
    ("elementwise or bias", r"elemWiseRNNcell"),
    # cuBLAS: what it does around its products.
    ("elementwise or bias", r"\bscal_kernel<|cublasLt::epilogue"),
    ("reduction", rf"{_SPLIT_SUM}|reduce_1Block"),
    # cuBLAS (nvjet from Hopper on), CUTLASS, cuDNN, fused attention.
    ("matrix product", r"gem[mvk]|nvjet|cutlass|xmma|(^|_)mma_|fprop|dgrad|wgrad|[shic]cudnn"),
    ("matrix product", r"dot_kernel|matmul|conv(?!ert)|flash_|fmha|attention|RNN_blockPersist"),
    # Normalisations and losses reduce first.
    ("reduction", r"reduce|softmax|nll_loss|welford|RowwiseMoments|GammaBeta"),
    ("reduction", r"\bbn_(fw|bw)|(batch|layer|group|rms)_?norm"),
    ("elementwise or bias", r"elementwise|pointwise|op_?tensor|addTensor|activation|dropout|bias"),
)
_COMPILED = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _PATTERNS)
_COMPILED_SPLIT_SUM = re.compile(_SPLIT_SUM, re.IGNORECASE)
_GRADIENTS = {
    Phase.GRAD_INPUT: re.compile(r"dgrad|(bwd|backward)_?(data|input)", re.IGNORECASE),
    Phase.GRAD_WEIGHT: re.compile(r"wgrad|(bwd|backward)_?(filter|weight)", re.IGNORECASE),
}


@lru_cache(maxsize=4096)
def kernel_kind(name: str) -> KernelKind:
    """The first kind with a pattern that is found in ``name``."""
    return next((kind for kind, pattern in _COMPILED if pattern.search(name)), "other")


def sums_split_product(name: str) -> bool:
    """Whether a kernel adds up the parts of a product that was split along its reduction."""
    return _COMPILED_SPLIT_SUM.search(name) is not None


@lru_cache(maxsize=4096)
def gradient_by_name(name: str) -> Phase | None:
    """Which gradient of a convolution a kernel is for, if its name says so."""
    found = [phase for phase, pattern in _GRADIENTS.items() if pattern.search(name)]
    return found[0] if len(found) == 1 else None
