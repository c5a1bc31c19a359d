"""Real output of ncu, read."""

from __future__ import annotations

import pytest

from lightning_profile.counters.metrics import choose_metrics
from lightning_profile.counters.reading import UnreadableOutputError, read_kernels, split_at
from tests.counters.outputs import PRODUCT_FLOP, count, h100_metrics, kernel, printed


def test_a_bf16_convolution_executes_what_theory_says_to_the_digit() -> None:
    forward = count("bf16_forward")
    assert forward.hardware_flop == PRODUCT_FLOP
    assert len(forward.kernels) == 5
    executed = {(part.unit, part.arithmetic): part.flop for part in forward.executed}
    assert executed["tensor", "bf16"] == PRODUCT_FLOP
    # Scaling in the tensor kernel and the bias kernel: two fused multiply-adds per output element.
    assert executed["fma", "fp32"] == 2 * 2 * 4_718_592
    assert forward.hardware_elementwise_flop == sum(executed.values()) - PRODUCT_FLOP


def test_an_fp32_convolution_executes_what_theory_says_in_fused_multiply_adds() -> None:
    forward = count("fp32_forward")
    assert forward.hardware_flop == PRODUCT_FLOP
    (product,) = [each for each in forward.kernels if each.product_flop]
    executed = {(part.unit, part.arithmetic): part.flop for part in product.executed}
    assert executed["fma", "fp32"] == PRODUCT_FLOP
    assert not [part for part in forward.executed if part.unit == "tensor"]


def test_a_tf32_convolution_executes_what_theory_says_on_the_tensor_cores() -> None:
    forward = count("tf32_forward")
    assert forward.hardware_flop == PRODUCT_FLOP
    executed = {(part.unit, part.arithmetic): part.flop for part in forward.executed}
    assert executed["tensor", "tf32"] == PRODUCT_FLOP


def test_an_fp32_backward_by_fourier_transform_executes_fewer() -> None:
    backward = count("fp32_backward")
    transforms = [each for each in backward.kernels if "fft2d" in each.name]
    products = [each for each in backward.kernels if "gemm" in each.name]
    assert (len(transforms), len(products)) == (6, 2)
    assert backward.hardware_flop == sum(each.product_flop or 0 for each in transforms + products)
    assert backward.hardware_flop == 2_929_336_320 < 2 * PRODUCT_FLOP


def test_time_and_traffic_are_summed_over_the_kernels() -> None:
    forward = count("bf16_forward")
    assert forward.time_ns == 7_936 + 3_648 + 18_400 + 10_304 + 17_440
    assert forward.dram_read_bytes == 5_547_008 + 45_824 + 5_611_520 + 9_448_704 + 9_463_808
    assert forward.dram_write_bytes == 110_336 + 1_024


@pytest.mark.parametrize(
    ("name", "grad_input_flop", "grad_weight_flop", "sum_of_the_parts"),
    [
        ("bf16_backward", 6_417_285_120, 6_039_797_760, "split_k_kernel"),
        ("fp16_backward", 3_208_642_560, 6_039_797_760, "split_k_kernel"),
        ("tf32_backward", 6_417_285_120, 3_652_190_208, "ReduceSplitK"),
    ],
)
def test_a_backward_executes_both_products(
    name: str, grad_input_flop: int, grad_weight_flop: int, sum_of_the_parts: str
) -> None:
    backward = count(name)
    assert backward.hardware_flop == grad_input_flop + grad_weight_flop
    products = [each.product_flop for each in backward.kernels if each.product_flop]
    assert products == [grad_input_flop, grad_weight_flop]
    split_sum = next(each for each in backward.kernels if sum_of_the_parts in each.name)
    assert split_sum.product_flop == 0
    assert split_sum.elementwise_flop


def test_a_chip_without_tensor_counters_has_traffic_but_no_flop() -> None:
    metrics = choose_metrics(
        {"dram__bytes_read", "smsp__sass_thread_inst_executed_op_ffma_pred_on"}
    )
    (first, *_) = read_kernels(printed("bf16_forward"), metrics)
    assert first.dram_read_bytes == 5_547_008
    assert first.dram_write_bytes is first.product_flop is first.elementwise_flop is None


def test_a_value_that_the_tool_could_not_read_is_unknown() -> None:
    output = printed("bf16_forward").replace('"2,717,908,992"', '"n/a"')
    assert [each.product_flop for each in read_kernels(output, h100_metrics())].count(None) == 1


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"ID","Process ID"', "nothing", "no table"),
        ("gpu__time_duration.sum", "gpu__time.sum", "no column gpu__time_duration.sum"),
        ('"byte"', '"Mbyte"', "is in Mbyte"),
        ('"5,547,008"', '"5.547.008"', "no number"),
    ],
)
def test_output_that_is_not_as_expected_is_refused(old: str, new: str, says: str) -> None:
    output = printed("bf16_forward")
    assert old in output
    with pytest.raises(UnreadableOutputError, match=says):
        read_kernels(output.replace(old, new), h100_metrics())


def test_lines_of_the_tool_after_the_table_are_no_kernels() -> None:
    output = printed("bf16_forward") + "==WARNING== Something, with, commas\n"
    assert len(read_kernels(output, h100_metrics())) == 5


def test_parts_begin_at_the_markers() -> None:
    a, b, mark = kernel("a"), kernel("b"), kernel("at::cuda::spin_kernel(long)")
    assert split_at("spin_kernel", [mark, a, b, mark, mark, b]) == [(a, b), (), (b,)]
    assert split_at("spin_kernel", []) == []
    with pytest.raises(UnreadableOutputError, match="before the first marker"):
        split_at("spin_kernel", [a, mark])
