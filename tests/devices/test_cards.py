"""The table of cards against arithmetic, and the names that must and must not match."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from lightning_profile.devices import find_card
from lightning_profile.devices.card import Card
from lightning_profile.devices.peaks import CARDS

ROUNDING = 0.015  # the documents round to two or three digits


@dataclass(frozen=True)
class Chip:
    """What a multiprocessor does per clock, and how fast the clock is with which cores."""

    cuda_ghz: float
    flop_per_clock: dict[str, int]
    tensor_ghz: float = field(default=0.0)

    def tflop_per_s(self, card: Card, kind: str) -> float | None:
        if kind not in self.flop_per_clock:
            return None
        on_tensor_cores = kind not in {"fp64", "fp32"}
        ghz = self.tensor_ghz if on_tensor_cores and self.tensor_ghz else self.cuda_ghz
        return card.multiprocessors * self.flop_per_clock[kind] * ghz / 1e3


def rates(**flop_per_clock: int) -> dict[str, int]:
    return flop_per_clock


PASCAL = rates(fp64=64, fp32=128)
VOLTA = rates(fp64=64, fp32=128, fp16=1024)
TURING = rates(fp64=4, fp32=128, fp16=1024)
GA100 = rates(fp64=128, fp32=128, tf32=1024, fp16=2048, bf16=2048)
GA102 = rates(fp64=4, fp32=256, tf32=512, fp16=1024, bf16=1024)
ADA = GA102 | rates(fp8=2048)
# GeForce sums in fp32 at half the rate of the same chip in a data centre's card.
GA102_GEFORCE = rates(fp64=4, fp32=256, tf32=256, fp16=512, bf16=512)
ADA_GEFORCE = GA102_GEFORCE | rates(fp8=1024)
HOPPER = rates(fp64=256, fp32=256, tf32=2048, fp16=4096, bf16=4096, fp8=8192)
BLACKWELL = rates(fp64=128, fp32=256, tf32=4096, fp16=8192, bf16=8192, fp8=16384)

# Boost clocks as the documents have them. The tensor cores' clock of the NVL cards and both of the
# B200's are in no document: they follow from fp32 and bf16, so that there the other kinds are held
# against those two.
CHIPS = {
    "P100 PCIe 12 GB": Chip(1.303, PASCAL),
    "P100 PCIe 16 GB": Chip(1.303, PASCAL),
    "P100 SXM2": Chip(1.480, PASCAL),
    "V100 PCIe 16 GB": Chip(1.380, VOLTA),
    "V100 PCIe 32 GB": Chip(1.380, VOLTA),
    "V100 SXM2 16 GB": Chip(1.530, VOLTA),
    "V100 SXM2 32 GB": Chip(1.530, VOLTA),
    "T4": Chip(1.590, TURING),
    "A10": Chip(1.695, GA102),
    "A30": Chip(1.440, GA100),
    "A40": Chip(1.740, GA102),
    "A100 PCIe 40 GB": Chip(1.410, GA100),
    "A100 SXM 40 GB": Chip(1.410, GA100),
    "A100 PCIe 80 GB": Chip(1.410, GA100),
    "A100 SXM 80 GB": Chip(1.410, GA100),
    "L4": Chip(2.040, ADA),
    "L40S": Chip(2.520, ADA),
    "H100 PCIe": Chip(1.755, HOPPER, tensor_ghz=1.620),
    "H100 NVL": Chip(1.785, HOPPER, tensor_ghz=1.545),
    "H100 SXM": Chip(1.980, HOPPER, tensor_ghz=1.830),
    "H200 NVL": Chip(1.785, HOPPER, tensor_ghz=1.545),
    "H200 SXM": Chip(1.980, HOPPER, tensor_ghz=1.830),
    "B200": Chip(1.980, BLACKWELL, tensor_ghz=1.855),
    "RTX 3090": Chip(1.695, GA102_GEFORCE),
    "RTX 4090": Chip(2.520, ADA_GEFORCE),
    "RTX 5090": Chip(2.407, ADA_GEFORCE),
}

each_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)


def test_every_card_has_a_chip_and_a_name_of_its_own() -> None:
    assert [card.name for card in CARDS] == list(CHIPS)
    assert len({card.reported_name for card in CARDS}) == len(CARDS)


@each_card
def test_a_peak_is_multiprocessors_times_flop_per_clock_times_clock(card: Card) -> None:
    chip = CHIPS[card.name]
    for kind, flop_per_s in card.ceilings.flop_per_s.items():
        expected = chip.tflop_per_s(card, kind)
        if expected is None:
            assert flop_per_s is None, kind
        else:
            assert flop_per_s == pytest.approx(expected * 1e12, rel=ROUNDING), kind


@each_card
def test_halving_the_bits_on_tensor_cores_doubles_the_rate(card: Card) -> None:
    if card.tf32 is not None:
        assert card.bf16 == pytest.approx(2 * card.tf32, rel=ROUNDING)
    if card.bf16 is not None:
        assert card.fp16 == card.bf16
    if card.fp8 is not None:
        assert card.bf16 is not None
        assert card.fp8 == pytest.approx(2 * card.bf16, rel=ROUNDING)


@each_card
def test_fp64_is_said_to_run_where_it_does(card: Card) -> None:
    # The CUDA cores do at most half of their fp32 rate in fp64.
    on_tensor_cores = card.fp64 > 0.52 * card.fp32
    is_blackwell = card.name == "B200"  # the same on both, by its document
    assert (card.fp64_unit == "tensor cores") == (on_tensor_cores or is_blackwell)


@each_card
def test_a_row_has_plausible_memory_and_says_where_it_is_from(card: Card) -> None:
    assert card.memory_bytes == card.memory_gib * 1024**3
    ceilings = card.ceilings
    assert ceilings.bytes_per_s == card.gb_per_s * 1e9
    # All of a card's memory is read in 10 to 90 ms.
    assert 0.010 < card.memory_bytes / (card.gb_per_s * 1e9) < 0.090
    assert ceilings.source.startswith("NVIDIA ")
    assert "https://" in ceilings.source


@each_card
def test_a_card_is_found_by_the_name_of_new_and_old_drivers(card: Card) -> None:
    for prefix in ("NVIDIA ", ""):
        assert find_card(prefix + card.reported_name, card.multiprocessors) is card


@pytest.mark.parametrize(
    ("reported", "multiprocessors", "name"),
    [
        ("NVIDIA H100 80GB HBM3", 132, "H100 SXM"),
        ("NVIDIA H100 PCIe", 114, "H100 PCIe"),
        ("NVIDIA H100 NVL", 132, "H100 NVL"),
        ("NVIDIA H200", 132, "H200 SXM"),
        ("NVIDIA H200 NVL", 132, "H200 NVL"),
        ("NVIDIA A100-SXM4-40GB", 108, "A100 SXM 40 GB"),
        ("NVIDIA A100 80GB PCIe", 108, "A100 PCIe 80 GB"),
        ("Tesla V100-SXM2-16GB", 80, "V100 SXM2 16 GB"),
        ("Tesla T4", 40, "T4"),
        ("NVIDIA A10", 72, "A10"),
        ("NVIDIA L4", 58, "L4"),
        ("NVIDIA L40S", 142, "L40S"),
        ("NVIDIA GeForce RTX 4090", 128, "RTX 4090"),
        ("NVIDIA B200", 148, "B200"),
    ],
)
def test_names_that_torch_reports(reported: str, multiprocessors: int, name: str) -> None:
    card = find_card(reported, multiprocessors)
    assert card is not None
    assert card.name == name


@pytest.mark.parametrize(
    ("reported", "multiprocessors"),
    [
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 16),
        ("NVIDIA A100-SXM4-40GB MIG 7g.40gb", 98),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 76),
        ("NVIDIA GeForce RTX 4090 D", 114),
        ("NVIDIA GeForce RTX 3090 Ti", 84),
        ("NVIDIA A10G", 80),
        ("NVIDIA L40", 142),
        ("NVIDIA H20", 78),
        ("NVIDIA H800", 132),
        ("NVIDIA GH200 480GB", 132),
        ("NVIDIA B300 SXM6 AC", 148),
        ("Tesla V100-SXM3-32GB", 80),
        ("Tesla V100S-PCIE-32GB", 80),
        ("GRID A100-10C", 108),
        ("NVIDIA A40-48Q", 84),
        ("NVIDIA", 132),
        ("", 132),
        ("AMD Instinct MI300X", 304),
    ],
)
def test_slices_variants_and_strangers_do_not_match(reported: str, multiprocessors: int) -> None:
    assert find_card(reported, multiprocessors) is None


def test_a_card_with_fewer_multiprocessors_than_its_row_does_not_match() -> None:
    assert find_card("NVIDIA H100 80GB HBM3", 66) is None


def test_no_figure_is_zero_or_not_finite() -> None:
    for card in CARDS:
        for rate in card.ceilings.flop_per_s.values():
            assert rate is None or (rate > 0 and math.isfinite(rate))
