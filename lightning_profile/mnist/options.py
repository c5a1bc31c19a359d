"""What the demo's command line has beside Lightning's own options."""

from __future__ import annotations

from typing import Any, Literal

import torch


def add_training_arguments(parser: Any) -> None:
    """Add the options of a training to a parser of jsonargparse."""
    parser.add_argument(
        "--batch_size",
        type=int,
        default=128,
        help="Images per training step; several numbers make a study.",
    )
    parser.add_argument(
        "--layers",
        nargs="+",
        default=["Conv2d-2"],
        help="Layers to profile: Conv2d-2 is the second Conv2d; conv2, its name, works too.",
    )
    parser.add_argument(
        "--dataset",
        type=Literal["auto", "mnist", "digits"],
        default="auto",
        help="mnist; digits (scikit-learn's, no download); auto: digits if MNIST can't be had.",
    )
    parser.add_argument("--data_dir", default="data", help="Where MNIST lies or is downloaded to.")
    parser.add_argument("--log_dir", default="logs", help="Runs go to LOG_DIR/mnist/version_N.")
    parser.add_argument(
        "--profile", type=bool, default=True, help="Whether to profile the layers at all."
    )
    parser.add_argument(
        "--counters",
        type=Literal["none", "ncu"],
        default="none",
        help="ncu: Nsight Compute counts what the layers execute, on an NVIDIA GPU.",
    )
    parser.add_argument(
        "--empirical_roofline",
        type=bool,
        default=False,
        help="Whether to measure what the device reaches beside the vendor's peaks.",
    )
    parser.add_argument(
        "--figures",
        type=bool,
        default=True,
        help="Whether TensorBoard gets pictures of the layers, drawn beside the training.",
    )
    parser.add_argument(
        "--trace",
        type=bool,
        default=False,
        help="Whether the last window's trace is written beside layer_profile.csv, for Perfetto.",
    )
    parser.add_argument(
        "--nvtx",
        type=bool,
        default=False,
        help="Whether to mark the layers by NVTX ranges, for NVIDIA's own profilers.",
    )
    parser.add_argument(
        "--tf32",
        type=bool | None,
        default=None,
        help="Whether fp32 products may be computed in TF32, on NVIDIA GPUs from Ampere on. By "
        "default what torch does: convolutions are, matrix products are not.",
    )


def allow_tf32(is_allowed: bool) -> None:
    """Compute fp32 products in TF32, or don't; layers of both cuDNN and cuBLAS."""
    torch.backends.cudnn.allow_tf32 = is_allowed
    torch.backends.cuda.matmul.allow_tf32 = is_allowed
