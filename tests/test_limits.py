"""Rows beside the device's ceilings, by hand-worked numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_profile import LayerProfiler, Schedule
from lightning_profile.comparison import Limits, exceed, without_rooflines
from lightning_profile.devices import arithmetic_kind
from lightning_profile.records import (
    ArithmeticKind,
    Ceilings,
    Comparison,
    Cost,
    Layer,
    MathsMode,
    Measurement,
    Phase,
    Work,
)
from tests.conftest import read_csv, read_json, read_rest, train

CEILINGS = Ceilings(
    flop_per_s={"fp32": 1e9, "tf32": 8e9, "bf16": 16e9, "fp64": None, "fp16": None, "fp8": None},
    bytes_per_s=1e8,
    source="by hand",
)
MODE = MathsMode(float32_matmul="fp32", float32_convolution="tf32", float32_recurrent="fp32")
WORK = Work(
    counted_flop=0, counted_elementwise_flop=0, cpu_time_ns=0, device_time_ns=None, kernels=None
)


def kind_of(dtype: torch.dtype, product: str) -> ArithmeticKind | None:
    return arithmetic_kind(dtype, product, MODE)  # type: ignore[arg-type]


def row(
    module: nn.Module,
    *,
    flop: int,
    read_bytes: int | None = 600,
    dtype: torch.dtype = torch.float32,
    cpu_time_ns: int = 40_000,
    wall_time_ns: int | None = None,
    device_time_ns: int | None = None,
    is_container: bool = False,
) -> Comparison:
    layer = Layer(
        qualified_name="a",
        display_name="A-1",
        type_name="A",
        module=module,
        entry=module,
        is_container=is_container,
    )
    cost = Cost(
        flop=flop,
        elementwise_flop=0,
        read_bytes=read_bytes,
        write_bytes=400,
        allocated_bytes=0,
        derivation=(),
    )
    measured = Measurement(
        layer="a",
        phase=Phase.FORWARD,
        step=0,
        calls=(0,),
        calls_inside=(0,),
        own=WORK,
        counted_flop=flop,
        counted_elementwise_flop=0,
        cpu_time_ns=cpu_time_ns,
        device_time_ns=device_time_ns,
        kernels=None,
        allocated_bytes=0,
        workspace_bytes=0,
        peak_allocated_bytes=0,
        reserved_bytes=None,
        wall_time_ns=wall_time_ns,
    )
    return Comparison(
        layer=layer,
        phase=Phase.FORWARD,
        steps=1,
        calls=1,
        dtype=dtype,
        cost=cost,
        measured=measured,
    )


def limited(comparison: Comparison) -> Comparison:
    layer, measured = comparison.layer, comparison.measured
    assert layer is not None
    assert measured is not None
    limits = Limits(CEILINGS, kind_of)
    line = limits.roofline_of(layer, comparison.dtype, comparison.cost, measured.time_ns)
    return replace(comparison, roofline=line)


@pytest.mark.parametrize(
    ("module", "dtype", "flop", "time_ns", "bound"),
    [
        (nn.Linear(1, 1), torch.float32, 80_000, 80_000, "compute"),  # fp32: 1 FLOP/ns
        (nn.Conv2d(1, 1, 1), torch.float32, 800_000, 100_000, "compute"),  # tf32: 8 FLOP/ns
        (nn.Conv2d(1, 1, 1), torch.bfloat16, 800_000, 50_000, "compute"),  # bf16: 16 FLOP/ns
        (nn.LSTM(1, 1), torch.float32, 80_000, 80_000, "compute"),
        (nn.Linear(1, 1), torch.float32, 8_000, 10_000, "memory"),  # 1000 bytes at 0.1 B/ns
        (nn.ReLU(), torch.float16, 0, 10_000, "memory"),  # no products: no ceiling is needed
    ],
)
def test_the_time_is_the_longer_of_arithmetic_and_traffic(
    module: nn.Module, dtype: torch.dtype, flop: int, time_ns: float, bound: str
) -> None:
    roofline = limited(row(module, flop=flop, dtype=dtype)).roofline
    assert roofline is not None
    assert (roofline.time_ns, roofline.bound) == (pytest.approx(time_ns), bound)
    assert roofline.flop_per_byte == flop / 1000
    assert roofline.fraction == pytest.approx(time_ns / 40_000)


class Slimmable(nn.Conv2d):
    """Its class knows how many groups there are now."""

    width = 2

    @property
    def groups(self) -> int:  # type: ignore[override]
        return self.width

    @groups.setter
    def groups(self, groups: int) -> None:
        """What it was made with."""


@pytest.mark.parametrize(
    "comparison",
    [
        row(nn.Linear(1, 1), flop=80, dtype=torch.float64),  # no ceiling
        row(nn.Sequential(), flop=80, is_container=True),  # of several kinds, perhaps
        row(nn.Conv2d(2, 2, 1, groups=2), flop=80),  # torch's own kernel, perhaps
        row(Slimmable(2, 2, 1, groups=2), flop=80),  # likewise
    ],
)
def test_products_without_a_ceiling_have_no_roofline_time(comparison: Comparison) -> None:
    roofline = limited(comparison).roofline
    assert roofline is not None
    assert (roofline.time_ns, roofline.bound, roofline.fraction) == (None, None, None)


def test_theory_without_traffic_has_no_roofline() -> None:
    assert limited(row(nn.Linear(1, 1), flop=80, read_bytes=None)).roofline is None


@pytest.mark.parametrize(
    ("wall_ns", "cpu_ns", "device_ns", "bound"),
    [
        (50_000, 10_000, 20_000, "launch"),
        (20_000, 10_000, 50_000, "memory"),
        (20_000, 10_000, 20_000, "memory"),
        (20_000, 10_000, 0, "memory"),  # no kernel was launched
        (20_000, 10_000, None, "memory"),  # no device
        (None, 50_000, 20_000, "launch"),  # what elapsed is unknown, but no less
        (None, 10_000, 20_000, "memory"),
    ],
)
def test_a_device_that_is_done_before_the_host_has_issued_is_launch_bound(
    wall_ns: int | None, cpu_ns: int, device_ns: int | None, bound: str
) -> None:
    relu = row(
        nn.ReLU(), flop=0, wall_time_ns=wall_ns, cpu_time_ns=cpu_ns, device_time_ns=device_ns
    )
    assert limited(relu).bound == bound


def test_the_rest_of_a_step_waits_for_nothing() -> None:
    optimizer = replace(
        row(nn.ReLU(), flop=0, cpu_time_ns=50_000, device_time_ns=20_000),
        layer=None,
        is_optimizer=True,
    )
    assert optimizer.bound == "launch"
    assert replace(optimizer, is_optimizer=False).bound is None


def test_the_share_of_the_roofline_is_of_the_devices_time() -> None:
    relu = row(nn.ReLU(), flop=0, wall_time_ns=50_000, device_time_ns=20_000)
    roofline = limited(relu).roofline
    assert roofline is not None
    assert roofline.fraction == pytest.approx(0.5)


def test_a_ceiling_that_a_layer_exceeds_is_none() -> None:
    too_fast = limited(row(nn.Linear(1, 1), flop=80_000))  # 80 µs at best, took 40
    in_cache = limited(row(nn.ReLU(), flop=0, cpu_time_ns=1_000))  # faster than DRAM
    assert exceed([too_fast])
    assert not exceed([in_cache, limited(row(nn.Linear(1, 1), flop=30_000))])
    told = without_rooflines([replace(too_fast, note="includes casts")])[0]
    assert told.roofline is None
    assert told.note.startswith("includes casts; roofline by measured ceilings unknown")


def test_a_training_shows_its_rooflines_and_where_the_ceilings_are_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = replace(CEILINGS, flop_per_s={"fp32": 1e15}, bytes_per_s=1e15, source="measured: here")
    monkeypatch.setattr("lightning_profile.device_limits.measured_ceilings", lambda _: fast)
    train(tmp_path, LayerProfiler(["Conv2d-2", "norm"], Schedule(wait=1)))
    for line in read_csv(tmp_path):
        assert line["bound"] in ("compute", "memory")
        traffic = int(line["theoretical_read_bytes"]) + int(line["theoretical_write_bytes"])
        least_ns = max(int(line["theoretical_flop"]), traffic) / 1e6
        assert float(line["roofline_time_ns"]) == pytest.approx(least_ns)
        assert float(line["roofline_fraction"]) == pytest.approx(
            least_ns / int(line["cpu_time_ns"])
        )
    assert read_rest(tmp_path)[0]["roofline_time_ns"] == ""
    (window,) = read_json(tmp_path)["windows"]
    assert window["ceilings"]["source"] == "measured: here"


def test_ceilings_that_were_measured_too_low_are_said_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(CEILINGS, flop_per_s={"fp32": 1.0}, source="measured: on a busy machine")
    forgotten: list[torch.device] = []
    monkeypatch.setattr("lightning_profile.device_limits.measured_ceilings", lambda _: slow)
    monkeypatch.setattr("lightning_profile.device_limits.forget_ceilings", forgotten.append)
    train(tmp_path, LayerProfiler("Conv2d-2", Schedule(wait=1)))
    for line in read_csv(tmp_path):
        assert line["roofline_time_ns"] == line["bound"] == ""
        assert "roofline by measured ceilings unknown: a layer is faster" in line["note"]
    (window,) = read_json(tmp_path)["windows"]
    assert window["ceilings"] is None
    assert forgotten == [torch.device("cpu")]


def test_ceilings_that_were_exceeded_once_are_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, False])
    monkeypatch.setattr("lightning_profile.device_limits.exceed", lambda _: next(answers))
    monkeypatch.setattr("lightning_profile.device_limits.forget_ceilings", lambda _: None)
    train(tmp_path, LayerProfiler("Conv2d-2", Schedule(wait=1)), max_epochs=2)
    lines = read_csv(tmp_path)
    assert {line["epoch"] for line in lines} == {"0", "1"}
    assert {line["roofline_time_ns"] for line in lines} == {""}


def on_a_card_of_the_table(monkeypatch: pytest.MonkeyPatch, measured: Ceilings) -> None:
    """As if this machine's processor were in the vendor's table."""
    module = "lightning_profile.device_limits"
    monkeypatch.setattr(f"{module}.vendor_ceilings", lambda _: VENDOR)
    monkeypatch.setattr(f"{module}.measured_ceilings", lambda _: measured)
    monkeypatch.setattr(f"{module}.forget_ceilings", lambda _: None)


VENDOR = replace(CEILINGS, flop_per_s={"fp32": 1e15}, bytes_per_s=1e15, source="a document")
HALF = replace(VENDOR, flop_per_s={"fp32": 5e14}, bytes_per_s=5e14, source="measured: here")


def test_both_ceilings_are_shown_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_card_of_the_table(monkeypatch, HALF)
    train(tmp_path, LayerProfiler("Conv2d-2", Schedule(wait=1), empirical_roofline=True))
    for line in read_csv(tmp_path):
        vendors, reached = (
            (float(line[f"{prefix}roofline_time_ns"]), float(line[f"{prefix}roofline_fraction"]))
            for prefix in ("", "empirical_")
        )
        assert reached == pytest.approx((2 * vendors[0], 2 * vendors[1]))
    (window,) = read_json(tmp_path)["windows"]
    assert window["ceilings"]["source"] == "a document"
    assert window["empirical_ceilings"]["source"] == "measured: here"
    assert "time, empirical" in capsys.readouterr().out


def test_a_device_of_the_table_is_not_measured_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_card_of_the_table(monkeypatch, HALF)
    monkeypatch.delattr("lightning_profile.device_limits.measured_ceilings")
    train(tmp_path, LayerProfiler("Conv2d-2", Schedule(wait=1)))
    for line in read_csv(tmp_path):
        assert line["roofline_time_ns"] != ""
        assert line["empirical_roofline_time_ns"] == ""
    (window,) = read_json(tmp_path)["windows"]
    assert window["empirical_ceilings"] is None


def test_measured_ceilings_that_are_too_low_leave_the_vendors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_card_of_the_table(monkeypatch, replace(HALF, flop_per_s={"fp32": 1.0}))
    train(tmp_path, LayerProfiler("Conv2d-2", Schedule(wait=1), empirical_roofline=True))
    for line in read_csv(tmp_path):
        assert line["roofline_time_ns"] != ""
        assert line["empirical_roofline_time_ns"] == ""
        assert "roofline by measured ceilings unknown" in line["note"]
