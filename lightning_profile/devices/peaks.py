"""The table of cards: what their vendor says they can do.

Where a document has figures with structured sparsity only, they are halved. Where it has no fp64,
the figure is 2 fused multiply-adds per multiprocessor and clock (CUDA C++ Programming Guide,
throughput of native arithmetic instructions, compute capabilities 7.5, 8.6, 8.9 and 12.0) at the
boost clock. The tests hold every row against multiprocessors × FLOP per clock × clock.
"""

from __future__ import annotations

from lightning_profile.devices.card import Card

_IMAGES = "https://images.nvidia.com"
_DAM = "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center"
_P100_PCIE = (
    "NVIDIA Tesla P100 PCIe GPU Accelerator datasheet, "
    f"{_IMAGES}/content/tesla/pdf/nvidia-tesla-p100-PCIe-datasheet.pdf"
)
_P100_SXM = (
    "NVIDIA Tesla P100 GPU Accelerator datasheet, "
    f"{_IMAGES}/content/tesla/pdf/nvidia-tesla-p100-datasheet.pdf"
)
_V100 = (
    "NVIDIA V100 Tensor Core GPU datasheet, "
    f"{_IMAGES}/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf"
)
_T4 = f"NVIDIA T4 datasheet, {_DAM}/tesla-t4/t4-tensor-core-datasheet-951643.pdf"
_A10 = f"NVIDIA A10 datasheet, {_DAM}/a10/pdf/a10-datasheet.pdf"
_A30 = (
    "NVIDIA A30 datasheet, https://www.nvidia.com/content/dam/en-zz/Solutions/data-center/"
    "products/a30-gpu/pdf/a30-datasheet.pdf"
)
_A40 = f"NVIDIA A40 datasheet, {_IMAGES}/content/Solutions/data-center/a40/nvidia-a40-datasheet.pdf"
_A100 = (
    "NVIDIA A100 Tensor Core GPU datasheet, "
    f"{_DAM}/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
)
_L4 = "NVIDIA L4 specifications, https://www.nvidia.com/en-us/data-center/l4/"
_L40S = "NVIDIA L40S specifications, https://www.nvidia.com/en-us/data-center/l40s/"
_HOPPER = (
    "NVIDIA H100 Tensor Core GPU Architecture whitepaper, "
    "https://resources.nvidia.com/en-us-tensor-core"
)
_H100_NVL = "NVIDIA H100 specifications, https://www.nvidia.com/en-us/data-center/h100/"
_H200 = "NVIDIA H200 specifications, https://www.nvidia.com/en-us/data-center/h200/"
_B200 = "NVIDIA HGX B200 specifications, https://www.nvidia.com/en-us/data-center/hgx/"
_GA102 = (
    "NVIDIA Ampere GA102 GPU Architecture whitepaper, https://www.nvidia.com/content/PDF/"
    "nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.1.pdf"
)
_ADA = (
    "NVIDIA Ada GPU Architecture whitepaper, "
    f"{_IMAGES}/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"
)
_RTX_BLACKWELL = (
    "NVIDIA RTX Blackwell GPU Architecture whitepaper, "
    f"{_IMAGES}/aem-dam/Solutions/geforce/blackwell/nvidia-rtx-blackwell-gpu-architecture.pdf"
)


def _p100(name: str, reported_name: str, memory_gib: int, gb_per_s: float) -> Card:
    # Its doubled fp16 rate is for sums in fp16 only.
    return Card(
        name=name,
        reported_name=reported_name,
        multiprocessors=56,
        memory_gib=memory_gib,
        gb_per_s=gb_per_s,
        fp64=4.7,
        fp32=9.3,
        source=_P100_PCIE,
    )


def _v100_pcie(memory_gib: int) -> Card:
    return Card(
        name=f"V100 PCIe {memory_gib} GB",
        reported_name=f"Tesla V100-PCIE-{memory_gib}GB",
        multiprocessors=80,
        memory_gib=memory_gib,
        gb_per_s=900,
        fp64=7,
        fp32=14,
        fp16=112,
        source=_V100,
    )


def _v100_sxm2(memory_gib: int) -> Card:
    return Card(
        name=f"V100 SXM2 {memory_gib} GB",
        reported_name=f"Tesla V100-SXM2-{memory_gib}GB",
        multiprocessors=80,
        memory_gib=memory_gib,
        gb_per_s=900,
        fp64=7.8,
        fp32=15.7,
        fp16=125,
        source=_V100,
    )


def _a100(form: str, reported_name: str, memory_gib: int, gb_per_s: float) -> Card:
    return Card(
        name=f"A100 {form} {memory_gib} GB",
        reported_name=reported_name,
        multiprocessors=108,
        memory_gib=memory_gib,
        gb_per_s=gb_per_s,
        fp64=19.5,
        fp32=19.5,
        tf32=156,
        fp16=312,
        bf16=312,
        fp64_unit="tensor cores",
        source=_A100,
    )


def _hopper_sxm(
    name: str, reported_name: str, memory_gib: int, gb_per_s: float, source: str
) -> Card:
    return Card(
        name=name,
        reported_name=reported_name,
        multiprocessors=132,
        memory_gib=memory_gib,
        gb_per_s=gb_per_s,
        fp64=66.9,  # the whitepaper's figures; the H200's page rounds the same ones
        fp32=66.9,
        tf32=494.7,
        fp16=989.4,
        bf16=989.4,
        fp8=1978.9,
        fp64_unit="tensor cores",
        source=source,
    )


def _hopper_nvl(name: str, memory_gib: int, gb_per_s: float, source: str) -> Card:
    return Card(
        name=name,
        reported_name=name,
        multiprocessors=132,
        memory_gib=memory_gib,
        gb_per_s=gb_per_s,
        fp64=60,
        fp32=60,
        tf32=417.5,
        fp16=835.5,
        bf16=835.5,
        fp8=1670.5,
        fp64_unit="tensor cores",
        source=source,
    )


CARDS = (
    _p100("P100 PCIe 12 GB", "Tesla P100-PCIE-12GB", 12, 549),
    _p100("P100 PCIe 16 GB", "Tesla P100-PCIE-16GB", 16, 732),
    Card(
        name="P100 SXM2",
        reported_name="Tesla P100-SXM2-16GB",
        multiprocessors=56,
        memory_gib=16,
        gb_per_s=732,
        fp64=5.3,
        fp32=10.6,
        source=_P100_SXM,
    ),
    _v100_pcie(16),
    _v100_pcie(32),
    _v100_sxm2(16),
    _v100_sxm2(32),
    Card(
        name="T4",
        reported_name="Tesla T4",
        multiprocessors=40,
        memory_gib=16,
        gb_per_s=320,
        fp64=0.254,
        fp32=8.1,
        fp16=65,
        source=_T4,
    ),
    Card(
        name="A10",
        reported_name="A10",
        multiprocessors=72,
        memory_gib=24,
        gb_per_s=600,
        fp64=0.488,
        fp32=31.2,
        tf32=62.5,
        fp16=125,
        bf16=125,
        source=_A10,
    ),
    Card(
        name="A30",
        reported_name="A30",
        multiprocessors=56,
        memory_gib=24,
        gb_per_s=933,
        fp64=10.3,
        fp32=10.3,
        tf32=82,
        fp16=165,
        bf16=165,
        fp64_unit="tensor cores",
        source=_A30,
    ),
    Card(
        name="A40",
        reported_name="A40",
        multiprocessors=84,
        memory_gib=48,
        gb_per_s=696,
        fp64=0.585,
        fp32=37.4,
        tf32=74.8,
        fp16=149.7,
        bf16=149.7,
        source=_A40,
    ),
    _a100("PCIe", "A100-PCIE-40GB", 40, 1555),
    _a100("SXM", "A100-SXM4-40GB", 40, 1555),
    _a100("PCIe", "A100 80GB PCIe", 80, 1935),
    _a100("SXM", "A100-SXM4-80GB", 80, 2039),
    Card(
        name="L4",
        reported_name="L4",
        multiprocessors=58,
        memory_gib=24,
        gb_per_s=300,
        fp64=0.473,
        fp32=30.3,
        tf32=60,
        fp16=121,
        bf16=121,
        fp8=242.5,
        source=_L4,
    ),
    Card(
        name="L40S",
        reported_name="L40S",
        multiprocessors=142,
        memory_gib=48,
        gb_per_s=864,
        fp64=1.431,
        fp32=91.6,
        tf32=183,
        # The document's 362.05 is the L40's, and does not go with its own 733 with sparsity.
        fp16=366.5,
        bf16=366.5,
        fp8=733,
        source=_L40S,
    ),
    Card(
        name="H100 PCIe",
        reported_name="H100 PCIe",
        multiprocessors=114,
        memory_gib=80,
        gb_per_s=2039,
        fp64=51.2,
        fp32=51.2,
        tf32=378,
        fp16=756,
        bf16=756,
        fp8=1513,
        fp64_unit="tensor cores",
        source=_HOPPER,
    ),
    _hopper_nvl("H100 NVL", 94, 3900, _H100_NVL),
    _hopper_sxm("H100 SXM", "H100 80GB HBM3", 80, 3352, _HOPPER),
    _hopper_nvl("H200 NVL", 141, 4800, _H200),
    _hopper_sxm("H200 SXM", "H200", 141, 4800, _H200),
    Card(
        name="B200",
        reported_name="B200",
        multiprocessors=148,
        memory_gib=180,
        gb_per_s=7700,
        fp64=37,
        fp32=75,
        tf32=1125,  # half of bf16; the document rounds 2.25 PFLOP/s with sparsity down to 2.2
        fp16=2250,
        bf16=2250,
        fp8=4500,
        fp64_unit="tensor cores",
        source=_B200,
    ),
    # On GeForce cards sums in fp32 halve the tensor cores' rate: these are the halved figures.
    Card(
        name="RTX 3090",
        reported_name="GeForce RTX 3090",
        multiprocessors=82,
        memory_gib=24,
        gb_per_s=936,
        fp64=0.556,
        fp32=35.6,
        tf32=35.6,
        fp16=71,
        bf16=71,
        source=_GA102,
    ),
    Card(
        name="RTX 4090",
        reported_name="GeForce RTX 4090",
        multiprocessors=128,
        memory_gib=24,
        gb_per_s=1008,
        fp64=1.29,
        fp32=82.6,
        tf32=82.6,
        fp16=165.2,
        bf16=165.2,
        fp8=330.3,
        source=_ADA,
    ),
    Card(
        name="RTX 5090",
        reported_name="GeForce RTX 5090",
        multiprocessors=170,
        memory_gib=32,
        gb_per_s=1792,
        fp64=1.637,
        fp32=104.8,
        tf32=104.8,
        fp16=209.5,
        bf16=209.5,
        fp8=419,
        source=_RTX_BLACKWELL,
    ),
)
