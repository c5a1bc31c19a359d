"""Why executed and theoretical FLOPs differ."""

from __future__ import annotations

from lightning_profile.counters import deviation_reason, other_kernels
from tests.counters.outputs import PRODUCT_FLOP, count, count_of, kernel


def test_what_agrees_needs_no_reason() -> None:
    assert deviation_reason(count("bf16_forward"), PRODUCT_FLOP) == ""
    assert deviation_reason(count_of(kernel("gemm", 1_010)), 1_000) == ""
    assert deviation_reason(count_of(kernel("gemm", 1_011)), 1_000)
    assert deviation_reason(count_of(kernel("gemm", None)), 1_000) == ""
    assert deviation_reason(count_of(kernel("bn_fw_tr")), 0) == ""


def test_a_real_backward_has_padded_tiles_zeros_and_a_split_reduction() -> None:
    reason = deviation_reason(count("bf16_backward"), 2 * PRODUCT_FLOP)
    assert reason.startswith("executed 2.29 × theory: ")
    assert "tiles of 128x64x32, 64x64x64 are padded" in reason
    assert "zeros" in reason
    assert "reduction is split" in reason


def test_tiles_are_read_from_names_of_cutlass_and_cublas() -> None:
    for name, tile in (
        ("cutlass_tensorop_bf16_s16816fprop_optimized_bf16_256x64_32x4_nhwc_align8", "256x64"),
        ("ampere_sgemm_128x64_tn", "128x64"),
    ):
        reason = deviation_reason(count_of(kernel(name, 200)), 100)
        assert reason == f"executed 2.00 × theory: tiles of {tile} are padded"


def test_transforms_and_masks_do_less() -> None:
    winograd = count_of(kernel("maxwell_scudnn_winograd_128x128", 44))
    assert "Winograd" in deviation_reason(winograd, 100)
    reason = deviation_reason(count("fp32_backward"), 2 * PRODUCT_FLOP)
    assert reason.startswith("executed 0.54 × theory: convolved by Fourier transform")
    fourier = count_of(kernel("fft2d_r2c_32x32", 20), kernel("cgemm_32x32", 30))
    assert "Fourier" in deviation_reason(fourier, 100)
    masked = count_of(kernel("pytorch_flash::flash_fwd_kernel", 50))
    assert "masked blocks" in deviation_reason(masked, 100)


def test_the_backward_of_attention_does_more() -> None:
    backward = count_of(kernel("pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel", 125))
    assert "computes its scores again" in deviation_reason(backward, 100)


def test_without_evidence_the_reason_is_unknown() -> None:
    assert deviation_reason(count_of(kernel("my_gemm", 200)), 100).endswith("reason unknown")
    assert deviation_reason(count_of(kernel("my_gemm", 50)), 100).endswith("reason unknown")
    assert "reason unknown" in deviation_reason(count_of(kernel("elementwise_kernel")), 100)
    assert "theory has none" in deviation_reason(count_of(kernel("gemm", 5)), 0)


def test_kernels_beside_the_products_are_named() -> None:
    assert other_kernels(count("bf16_forward")) == "3 × layout conversion, 1 × other kernel"
    assert other_kernels(count_of(kernel("gemm", 5))) == ""
