"""Which counters are asked for, on chips that have different ones."""

from __future__ import annotations

from lightning_profile.counters.metrics import available_metrics, choose_metrics
from tests.counters.outputs import h100_metrics

TENSOR = "sm__ops_path_tensor_src_"


def _tensor_names(*names: str) -> set[str]:
    return set(choose_metrics({TENSOR + name for name in names}).tensor)


def test_an_h100_has_one_total_per_source_type() -> None:
    metrics = h100_metrics()
    assert set(metrics.tensor) == {
        *("bf16_dst_fp32", "fp16", "fp64", "fp8", "int1", "int8", "tf32_dst_fp32")
    }
    assert metrics.tensor["fp16"] == "sm__ops_path_tensor_src_fp16.sum"
    assert len(metrics.scalar) == 9
    assert metrics.has_all_units
    assert len(metrics.names) == 7 + 9 + 3


def test_a_total_is_not_counted_again_in_its_parts() -> None:
    assert _tensor_names("fp16", "fp16_dst_fp16", "fp16_dst_fp32") == {"fp16"}
    assert _tensor_names("fp8_sparsity_off", "fp8", "fp8_sparsity_on") == {"fp8"}
    assert _tensor_names("tf32_dst_fp32", "tf32_dst_fp32_sparsity_off") == {"tf32_dst_fp32"}


def test_parts_without_a_total_are_all_counted() -> None:
    parts = {"fp16_dst_fp16", "fp16_dst_fp32", "fp8_sparsity_off", "fp8_sparsity_on"}
    assert _tensor_names(*parts) == parts
    # Names of one chip that begin alike and are no parts of each other.
    parts = {"fp4_dst_fp32", "fp4_fp6_dst_fp32", "int1", "int8"}
    assert _tensor_names(*parts) == parts


def test_instruction_kinds_are_no_source_types() -> None:
    assert not _tensor_names("x") ^ {"x"}
    assert not choose_metrics({"sm__ops_path_tensor_op_hmma_src_fp16"}).tensor


def test_another_name_of_the_same_counter_is_found() -> None:
    metrics = choose_metrics({"dram__bytes_op_read", "dram__bytes_op_write"})
    assert metrics.dram_read == "dram__bytes_op_read.sum"
    assert metrics.dram_write == "dram__bytes_op_write.sum"
    assert metrics.time is None
    assert not metrics.has_all_units


def test_the_listing_is_read_as_a_table_and_as_csv() -> None:
    table = (
        "Device NVIDIA H100 80GB HBM3 (GH100)\n"
        "------------------- ------- ---- ---------------------------\n"
        "Metric Name         Type    Unit Metric Description\n"
        "dram__bytes_read    Counter byte # of bytes read from DRAM\n"
        "gpu__time_duration  Counter ns   duration; see also dram__bytes\n"
        '"sm__cycles_active","Counter","cycle","# of cycles"\n'
    )
    assert available_metrics(table) == {
        *("dram__bytes_read", "gpu__time_duration", "sm__cycles_active")
    }
