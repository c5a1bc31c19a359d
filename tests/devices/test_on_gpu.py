"""What only a GPU can show: its ceilings, and that nothing of them is left in its memory."""

from __future__ import annotations

import pytest
import torch

from lightning_profile.devices import find_card, measure_ceilings, vendor_ceilings
from lightning_profile.devices.cuda_memory import memory_beside_allocator
from lightning_profile.devices.precision import CUDA_MATMUL, read_precision
from lightning_profile.records import Ceilings

pytestmark = pytest.mark.gpu

WORKSPACE_BYTES = 64 * 2**20  # cuBLAS's, at most


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="module")
def ceilings(device: torch.device) -> Ceilings:
    return measure_ceilings(device)


def test_every_kind_that_the_card_has_is_measured(ceilings: Ceilings, device: torch.device) -> None:
    capability = torch.cuda.get_device_capability(device)
    known = {kind for kind, rate in ceilings.flop_per_s.items() if rate is not None}
    assert {"fp64", "fp32", "fp16"} <= known
    assert ({"tf32", "bf16"} <= known) == (capability >= (8, 0))
    assert ("fp8" in known) == (capability >= (8, 9))
    assert ceilings.bytes_per_s is not None


def test_what_is_measured_comes_close_to_the_vendors_figure_and_not_above(
    ceilings: Ceilings, device: torch.device
) -> None:
    vendor = vendor_ceilings(device)
    if vendor is None:
        pytest.skip("not in the table of cards")
    for kind, peak in vendor.flop_per_s.items():
        rate = ceilings.flop_per_s[kind]
        if peak is not None and rate is not None:
            assert 0.3 < rate / peak < 1.1, kind
    assert ceilings.bytes_per_s is not None
    assert vendor.bytes_per_s is not None
    assert 0.6 < ceilings.bytes_per_s / vendor.bytes_per_s < 1.02


def test_tf32_is_faster_than_fp32_on_cards_of_the_data_centre(ceilings: Ceilings) -> None:
    tf32, fp32 = ceilings.flop_per_s["tf32"], ceilings.flop_per_s["fp32"]
    if tf32 is None or fp32 is None:
        pytest.skip("has no tf32")
    assert tf32 > 0.8 * fp32


def test_the_memory_of_a_known_card_is_what_its_row_says(device: torch.device) -> None:
    properties = torch.cuda.get_device_properties(device)
    card = find_card(properties.name, properties.multi_processor_count)
    if card is None:
        pytest.skip("not in the table of cards")
    # The driver and error correction keep some.
    assert 0.9 * card.memory_bytes < properties.total_memory <= card.memory_bytes


def test_a_training_notices_nothing(device: torch.device) -> None:
    torch._C._cuda_clearCublasWorkspaces()
    keep = torch.ones(1000, device=device)
    torch.cuda.reset_peak_memory_stats(device)
    torch.cuda.manual_seed(1)
    random = torch.cuda.get_rng_state(device)
    host_random = torch.get_rng_state()
    precision = read_precision(CUDA_MATMUL)
    stream = torch.cuda.current_stream(device)
    allocated = torch.cuda.memory_allocated(device)
    measure_ceilings(device)
    assert torch.cuda.memory_allocated(device) == allocated
    assert torch.cuda.max_memory_allocated(device) <= allocated + WORKSPACE_BYTES
    assert torch.equal(torch.cuda.get_rng_state(device), random)
    assert torch.equal(torch.get_rng_state(), host_random)
    assert read_precision(CUDA_MATMUL) == precision
    assert torch.cuda.current_stream(device) == stream
    assert keep.sum().item() == 1000


def test_memory_beside_the_allocator_is_the_gpus_and_is_given_back(device: torch.device) -> None:
    torch.cuda.synchronize(device)
    reserved = torch.cuda.memory_reserved(device)
    free, _ = torch.cuda.mem_get_info(device)
    with memory_beside_allocator(device, 256 * 2**20) as memory:
        assert memory is not None
        assert (memory.device, memory.dtype, memory.numel()) == (device, torch.uint8, 256 * 2**20)
        memory.fill_(3)
        assert memory[-1].item() == 3
        assert torch.cuda.mem_get_info(device)[0] <= free - 256 * 2**20
        assert torch.cuda.memory_reserved(device) <= reserved + 2 * 2**20  # of the reading above
    assert torch.cuda.mem_get_info(device)[0] > free - 64 * 2**20


def test_more_memory_than_there_is_is_refused_without_an_error(device: torch.device) -> None:
    with memory_beside_allocator(device, 2**50) as memory:
        assert memory is None
    assert torch.ones(2, device=device).sum().item() == 2
