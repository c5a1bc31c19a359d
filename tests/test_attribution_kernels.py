"""Kernels by what they do, and the rows' sums over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightning_profile.attribution import attribute
from lightning_profile.kernel_names import gradient_by_name, kernel_kind
from lightning_profile.records import (
    Call,
    DeviceUse,
    Kernel,
    Measurement,
    Op,
    ParameterFact,
    Phase,
    TensorFact,
)
from tests.test_attribution import CALL, op

DGRAD = (
    "sm90_xmma_dgrad_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x64x32"
    "_warpgroupsize1x1x1_g1_execute_segment_k_off_kernel__5x_cudnn"
)
WGRAD = (
    "sm90_xmma_wgrad_indexed_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize64x64x64"
    "_warpgroupsize1x1x1_g1_execute_segment_k_on_kernel__5x_cudnn"
)
WGRAD_SUM = WGRAD.replace("segment_k_on", "split_k")
TO_NHWC = (
    "void cudnn::nchwToNhwcKernel<__nv_bfloat16, __nv_bfloat16, float, 0, 1, 0>"
    "(cudnn::nchw2nhwc_params_t<T3>, const T1 *, T2 *)"
)
SUM = (
    "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::func_wrapper_t"
    "<float, at::native::sum_functor<float, float, float>::operator()(at::TensorIterator&)"
    "::{lambda(float, float)#1}>, unsigned int, float, 4, 4> >"
)
# Kind and name, of recordings on NVIDIA GPUs and of torch's and Inductor's sources.
NAMES = (Path(__file__).parent / "data/kernel_names.tsv").read_text("utf-8").splitlines()


@pytest.mark.parametrize("line", NAMES)
def test_names_tell_what_a_kernel_does(line: str) -> None:
    kind, name = line.split("\t")
    assert kernel_kind(name) == kind


def test_names_tell_the_gradient_of_a_convolution() -> None:
    assert gradient_by_name(DGRAD) is Phase.GRAD_INPUT
    assert gradient_by_name(WGRAD) is gradient_by_name(WGRAD_SUM) is Phase.GRAD_WEIGHT
    assert gradient_by_name(SUM) is gradient_by_name(TO_NHWC) is None


def kernel(name: str, start_ns: int, time_ns: int, stream: int = 7) -> Kernel:
    return Kernel(name=name, start_ns=start_ns, device_time_ns=time_ns, stream=stream)


def backward_of(calls: list[Call], *nodes: Op) -> Measurement:
    """The backward's row of ``calls``, with an operator for each of their nodes."""
    ops = [op(0, None, end_ns=10_000, launched=())]
    for number, call in enumerate(calls):
        ops.append(op(10 * number + 1, 0, call=number, launched=()))
        ops.append(op(10 * number + 2, len(ops) - 1, sequence_number=number, launched=()))
        assert call.layer == "conv"
    for number, node in enumerate(nodes):
        ops.append(replace(node, sequence_number=number, forward_thread=1, is_autograd_node=True))
    rows = attribute(ops, calls, memory_device="cuda")
    return next(row for row in rows if row.phase is Phase.BACKWARD)


def test_a_convolutions_gradients_are_told_apart_by_name() -> None:
    work = (
        kernel(TO_NHWC, 1000, 5),
        kernel(DGRAD, 1010, 30),
        kernel(WGRAD, 1050, 20),
        kernel(WGRAD_SUM, 1080, 2),
        kernel(SUM, 1100, 3),
    )
    row = backward_of([CALL], op(500, 0, launched=work))
    assert row.device_time_ns == 60
    assert row.on_device is not None
    assert row.on_device.grad_input_device_time_ns == 30
    assert row.on_device.grad_weight_device_time_ns == 22
    assert row.on_device.span_ns == 103
    uses = [(use.kind, use.count, use.device_time_ns) for use in row.on_device.kernels]
    assert uses == [
        ("matrix product", 1, 30),
        ("matrix product", 1, 20),
        ("layout conversion", 1, 5),
        ("reduction", 1, 3),
        ("reduction", 1, 2),
    ]
    assert sum(use.share for use in row.on_device.kernels) == pytest.approx(1)
    assert row.on_device.kernels[0].share == 0.5


@pytest.mark.parametrize("name", ["ampere_sgemm_128x64_tn", "fft2d_r2c_32x32"])
def test_a_product_that_can_not_be_told_makes_both_gradients_unknown(name: str) -> None:
    work = (kernel(DGRAD, 1010, 30), kernel(name, 1050, 20))
    use = backward_of([CALL], op(500, 0, launched=work)).on_device
    assert use is not None
    assert use.grad_input_device_time_ns is use.grad_weight_device_time_ns is None


def linear(positions: int, inputs: int, outputs: int) -> Call:
    tensor = {"dtype": torch.float32, "requires_grad": True}
    return replace(
        CALL,
        inputs=(TensorFact(name="input", shape=(positions, inputs), **tensor),),
        outputs=(TensorFact(name="", shape=(positions, outputs), **tensor),),
        parameters=(
            ParameterFact(name="weight", role="weight", shape=(outputs, inputs), **tensor),
            ParameterFact(name="bias", role="bias", shape=(outputs,), **tensor),
        ),
    )


@pytest.mark.parametrize(
    ("call", "expected"),
    [(linear(8, 5, 3), (40, 2)), (linear(3, 5, 3), (None, None)), (linear(8, 4, 4), (40, 2))],
)
def test_a_linears_gradients_are_told_apart_by_shape(
    call: Call, expected: tuple[int | None, int | None]
) -> None:
    (positions, inputs), (_, outputs) = call.inputs[0].shape, call.outputs[0].shape
    node = op(500, 0, launched=())
    products = [(positions, outputs, inputs), (outputs, positions, inputs)]
    gemm = [(kernel("gemm", 1000, 40),), (kernel("gemm", 1100, 1), kernel("splitKreduce", 1101, 1))]
    ops = [
        op(0, None, end_ns=10_000, launched=()),
        op(1, 0, call=0, launched=()),
        op(2, 1, sequence_number=0, launched=()),
        replace(node, sequence_number=0, forward_thread=1, is_autograd_node=True),
        op(51, 3, product=products[0], launched=gemm[0]),
        op(52, 3, product=products[1], launched=gemm[1]),
    ]
    rows = attribute(ops, [call], memory_device="cuda")
    use = next(row for row in rows if row.phase is Phase.BACKWARD).on_device
    assert use is not None
    assert (use.grad_input_device_time_ns, use.grad_weight_device_time_ns) == expected


def test_the_span_leaves_out_what_ran_between_two_calls_and_streams_overlap() -> None:
    first = (kernel("a", 1000, 50, stream=7), kernel("b", 1010, 50, stream=13))
    second = (kernel("a", 5000, 10),)
    row = backward_of(
        [CALL, replace(CALL, index=1)], op(500, 0, launched=first), op(600, 0, launched=second)
    )
    assert row.on_device is not None
    assert row.on_device.span_ns == 60 + 10
    assert row.device_time_ns == 110


def test_a_cuda_graph_makes_the_device_time_unknown_not_zero() -> None:
    ops = [
        op(0, None, end_ns=1000, launched=(kernel("loss", 10, 1),)),
        op(1, 0, call=0, end_ns=100, launches_graph=True, launched=()),
        op(50, 0, call=1, end_ns=600, launched=(kernel("gemm", 500, 1),)),
    ]
    other = replace(CALL, layer="other")
    rows = {row.layer: row for row in attribute(ops, [CALL, other], memory_device="cuda")}
    graph = rows["conv"]
    assert graph.device_time_ns is graph.kernels is None
    assert graph.on_device == DeviceUse(launches_graph=True)
    assert (rows["other"].device_time_ns, rows[None].device_time_ns) == (1, 1)


def test_a_containers_kernels_are_those_of_the_layers_inside_too() -> None:
    inner = replace(CALL, layer="conv.inner", parent=0)
    ops = [
        op(0, None, end_ns=1000),
        op(1, 0, call=0, end_ns=900, launched=(kernel("from python", 1, 4),)),
        op(2, 1, name="aten::add", launched=(kernel("add", 10, 5),)),
        op(10, 1, call=1, end_ns=500, launched=()),
        op(11, 3, name="aten::add", launched=(kernel("add", 20, 7), kernel("copy", 30, 1))),
    ]
    rows = {row.layer: row for row in attribute(ops, [CALL, inner], memory_device="cuda")}
    container = rows["conv"]
    assert (container.kernels, container.device_time_ns, container.own.kernels) == (4, 17, 2)
    assert [(use.name, use.device_time_ns) for use in container.operators] == [("aten::add", 13)]
    assert container.on_device is not None
    assert {use.name: use.device_time_ns for use in container.on_device.kernels} == {
        "add": 12,
        "from python": 4,
        "copy": 1,
    }
    assert container.on_device.span_ns == 30
    assert (rows["conv.inner"].kernels, rows["conv.inner"].device_time_ns) == (2, 8)
