"""Which kernels do products, by their names and units."""

from __future__ import annotations

import pytest

from lightning_profile.counters.products import arithmetic_of, product_flop
from lightning_profile.records import ExecutedFlop

SCALAR = (
    ExecutedFlop(unit="fma", arithmetic="fp32", flop=1_000),
    ExecutedFlop(unit="add", arithmetic="fp32", flop=20),
    ExecutedFlop(unit="multiply", arithmetic="fp32", flop=3),
)
TENSOR = (ExecutedFlop(unit="tensor", arithmetic="tf32", flop=50_000), *SCALAR)


@pytest.mark.parametrize(
    "name",
    [
        "void cutlass::Kernel2<cutlass_80_simt_sgemm_128x64_8x5_nn_align1>(T1::Params)",
        "void cudnn::cnn::implicit_convolve_sgemm<float, float, 128, 5, 5>(int)",
        "ampere_sgemm_128x64_tn",
        "void gemv2T_kernel_val<int, int, float, float>(T13)",
        "void at::native::conv_depthwise2d_forward_kernel<3, float, int>(T1)",
        "sm80_xmma_fprop_implicit_gemm_indexed_wo_smem_f32f32_f32f32_f32_nchwkcrs",
        "fmha_cutlassF_f32_aligned_64x64_rf_sm80(Params)",
    ],
)
def test_without_tensor_cores_a_product_is_its_fused_multiply_adds(name: str) -> None:
    assert product_flop(name, SCALAR) == 1_000


@pytest.mark.parametrize(
    "name",
    [
        "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>()",
        "void cudnn::nchwToNhwcKernel<float, float, float, 0, 1, 0>(T3)",
        "void at::native::reduce_kernel<512, 1, at::ReduceOp<float>>(T3)",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float>(T2)",
        "sm90_xmma_wgrad_implicit_gemm_execute_split_k_kernel__5x_cudnn",
        "void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float, 512>(T1)",
        "void at::native::im2col_kernel<float>(long)",
        "void at::native::unrolled_elementwise_kernel<at::native::LoadWithCast<1>, convert>()",
    ],
)
def test_what_goes_on_around_a_product_is_elementwise(name: str) -> None:
    assert product_flop(name, SCALAR) == 0


@pytest.mark.parametrize("name", ["fft2d_r2c_32x32", "maxwell_scudnn_winograd_128x128_ldg1"])
def test_a_transforms_additions_are_part_of_the_convolution(name: str) -> None:
    assert product_flop(name, SCALAR) == 1_023


def test_where_tensor_cores_ran_only_their_operations_are_the_product() -> None:
    assert product_flop("sm90_xmma_fprop_implicit_gemm", TENSOR) == 50_000
    assert product_flop("a name that nobody knows", TENSOR) == 50_000


def test_constants_that_are_loaded_by_half_precision_are_no_arithmetic() -> None:
    # Forward of Conv2d(32, 64, 3) at batch 128 in fp32, without TF32, as counted on an H100.
    counted = [
        ExecutedFlop(unit="add", arithmetic="fp32", flop=4_718_592),
        ExecutedFlop(unit="multiply", arithmetic="fp32", flop=4_718_592),
        ExecutedFlop(unit="fma", arithmetic="fp32", flop=2_717_908_992),
        ExecutedFlop(unit="fma", arithmetic="fp16", flop=442_368),
    ]
    arithmetic = arithmetic_of(counted)
    assert arithmetic == tuple(counted[:3])
    assert product_flop("sm80_xmma_fprop_implicit_gemm_f32f32", arithmetic) == 2_717_908_992
    in_half = [ExecutedFlop(unit="fma", arithmetic="fp16", flop=8)]
    assert arithmetic_of(in_half) == tuple(in_half)
