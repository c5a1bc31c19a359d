"""Reading the event tree, on the shape that it has where a GPU was recorded.

The nesting is that of a convolution's forward recorded on an H100 (torch 2.11): the device's
picture of the call's range lies below the operator, and the free of cuDNN's workspace below it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from torch._C._autograd import DeviceType
from torch._C._profiler import RecordScope

from lightning_profile.measurement.arguments import WithLists
from lightning_profile.measurement.other_profilers import LostWindowError
from lightning_profile.measurement.trace import read_ops
from lightning_profile.records import Kernel

WORKSPACE, OUTPUT = 11_149_824, 18_874_368
_KERNEL_NAME = "sm80_xmma_fprop_implicit_gemm"


class OperatorFields(SimpleNamespace):
    """Stands in for torch's class, which can't be made."""


class AllocationFields(SimpleNamespace):
    """As above."""


FIELDS = {"TorchOp": OperatorFields, "Allocation": AllocationFields, "Kineto": SimpleNamespace}


@pytest.fixture(autouse=True)
def _fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_profile.measurement.trace._OPERATOR", OperatorFields)
    monkeypatch.setattr("lightning_profile.measurement.trace._ALLOCATION", AllocationFields)


@dataclass
class Event:
    """As torch's event tree and flat list show it, in one."""

    name: str
    kind: str
    start: int
    end: int
    children: list[Event] = field(default_factory=list)
    size: int = 0
    device: str = "CPU"
    correlation_id: int = 0
    scope: RecordScope = RecordScope.FUNCTION

    @property
    def start_time_ns(self) -> int:
        return self.start

    @property
    def end_time_ns(self) -> int:
        return self.end

    @property
    def duration_time_ns(self) -> int:
        return self.end - self.start

    start_tid = 1

    @property
    def extra_fields(self) -> SimpleNamespace:
        return FIELDS[self.kind](
            sequence_number=-1,
            scope=self.scope,
            ptr=77 if abs(self.size) == WORKSPACE else 99,
            alloc_size=self.size,
            total_reserved=100_000_000,
            total_allocated=30_000_000,
            device=SimpleNamespace(type="cuda"),
        )


class Flat:
    """The flat list's entry of an event."""

    def __init__(self, event: Event) -> None:
        self._event = event

    def __getattr__(self, name: str) -> Any:
        values = {
            "name": self._event.name,
            "start_ns": self._event.start,
            "end_ns": self._event.end,
            "correlation_id": self._event.correlation_id,
            "device_resource_id": 7,
            "device_type": DeviceType.__members__[self._event.device],
            "flops": 1000 if self._event.name == "aten::cudnn_convolution" else 0,
            "shapes": [],
            "dtypes": [],
            "concrete_inputs": [],
            "start_thread_id": 1,
            "fwd_thread_id": 0,
        }
        return lambda: values[name]


def step(number: int, start: int, end: int, *inside: Event) -> list[Event]:
    """A step's operators between its two marks."""
    marks = [
        Event(f"lightning_profile.step {number} {kind}", "TorchOp", at, at + 1, correlation_id=1)
        for kind, at in (("begins", start), ("ends", end - 1))
    ]
    return [marks[0], *inside, marks[1]]


def recorded() -> list[Event]:
    call = "lightning_profile.call 0"
    launch = Event("cudaLaunchKernelExC", "Kineto", 40, 50)
    launch.children = [Event(_KERNEL_NAME, "Kineto", 52, 87, device="CUDA")]
    picture = Event(call, "Kineto", 51, 99, device="CUDA")
    picture.children = [
        Event("[memory]", "Allocation", 60, 60, size=-WORKSPACE),
        # Runtime calls are numbered on their own: the same number as an operator's is no clue.
        Event("cudaLaunchKernel", "Kineto", 61, 63, correlation_id=3),
        Event("aten::view", "TorchOp", 64, 66, correlation_id=4),
    ]
    picture.children[1].children = [Event("transform", "Kineto", 70, 75, device="CUDA")]
    convolution = Event("aten::cudnn_convolution", "TorchOp", 30, 68, correlation_id=3)
    convolution.children = [
        Event("[memory]", "Allocation", 31, 31, size=OUTPUT),
        Event("[memory]", "Allocation", 32, 32, size=WORKSPACE),
        launch,
        picture,
    ]
    mark = Event(call, "TorchOp", 20, 100, [convolution], correlation_id=2)
    return [*step(7, 10, 200, mark), Event("cudaDeviceSynchronize", "Kineto", 300, 310)]


def flat(events: list[Event]) -> list[Flat]:
    return [each for event in events for each in (Flat(event), *flat(event.children))]


def test_what_the_host_did_below_a_picture_of_a_range_is_found() -> None:
    tree = recorded()
    results = SimpleNamespace(experimental_event_tree=lambda: tree, events=lambda: flat(tree))
    whole, mark, convolution, view = read_ops(results, has_device=True)
    assert [op.name for op in (whole, mark, convolution, view)] == [
        "lightning_profile.step 7",
        "lightning_profile.call 0",
        "aten::cudnn_convolution",
        "aten::view",
    ]
    assert {op.step for op in (whole, mark, convolution, view)} == {7}
    assert (whole.start_ns, whole.end_ns, mark.parent) == (10, 200, 0)
    assert (mark.call, view.parent) == (0, 2)
    assert [block.bytes for block in convolution.allocations] == [OUTPUT, WORKSPACE, -WORKSPACE]
    assert {block.reserved_bytes for block in convolution.allocations} == {100_000_000}
    assert {block.cached_bytes for block in convolution.allocations} == {70_000_000}
    # Two kernels of 35 and 5 ns; neither runtime calls nor the picture are device work.
    assert convolution.counted_flop == 1000
    assert (convolution.kernels, convolution.device_time_ns) == (2, 40)
    assert (mark.kernels, mark.device_time_ns) == (0, 0)
    assert convolution.launched == (
        Kernel(name=_KERNEL_NAME, start_ns=52, device_time_ns=35, stream=7),
        Kernel(name="transform", start_ns=70, device_time_ns=5, stream=7),
    )
    assert not convolution.launches_graph


def test_a_launch_of_a_cuda_graph_is_seen() -> None:
    tree = recorded()
    convolution = tree[1].children[0]
    convolution.children.append(Event("cudaGraphLaunch", "Kineto", 66, 67))
    results = SimpleNamespace(experimental_event_tree=lambda: tree, events=lambda: flat(tree))
    ops = read_ops(results, has_device=True)
    assert [op.name for op in ops if op.launches_graph] == ["aten::cudnn_convolution"]


def test_without_a_device_the_device_time_is_unknown() -> None:
    tree = recorded()
    results = SimpleNamespace(experimental_event_tree=lambda: tree, events=lambda: flat(tree))
    assert {op.device_time_ns for op in read_ops(results, has_device=False)} == {None}


def test_an_operator_that_only_the_tree_has_is_kept_without_arguments() -> None:
    # As a reduction between processes that ends after the window.
    tree = recorded()
    others = [each for each in flat(tree) if each.name() != "aten::view"]
    results = SimpleNamespace(experimental_event_tree=lambda: tree, events=lambda: others)
    *_, view = read_ops(results, has_device=True)
    assert (view.name, view.end_ns - view.start_ns) == ("aten::view", 2)
    assert (view.counted_flop, view.is_uncounted, view.cast) == (None, False, None)


def test_lists_of_tensors_have_their_shapes_from_the_tree() -> None:
    flat_event = SimpleNamespace(
        flops=lambda: 0, shapes=lambda: [[5, 2, 8], []], concrete_inputs=lambda: [None, None]
    )
    inputs = [SimpleNamespace(sizes=[5, 2, 8]), [SimpleNamespace(sizes=[16, 8])]]
    operator = WithLists(flat_event, inputs)
    assert operator.shapes() == [[5, 2, 8], [[16, 8]]]
    assert (operator.flops(), operator.concrete_inputs()) == (0, [None, None])


def test_what_hangs_below_the_picture_of_an_earlier_step_is_of_its_own_step() -> None:
    late = Event("aten::relu", "TorchOp", 220, 230, correlation_id=5)
    picture = Event("lightning_profile.call 0", "Kineto", 150, 290, [late], device="CUDA")
    tree = [*step(7, 10, 200, picture), *step(8, 210, 300)]
    results = SimpleNamespace(experimental_event_tree=lambda: tree, events=lambda: flat(tree))
    assert {op.name: op.step for op in read_ops(results, has_device=True)} == {
        "lightning_profile.step 7": 7,
        "aten::relu": 8,
        "lightning_profile.step 8": 8,
    }


def test_a_step_that_begins_as_another_ends_is_its_own() -> None:
    relu = Event("aten::relu", "TorchOp", 220, 230, correlation_id=5)
    tree = [*step(7, 10, 200), *step(8, 200, 300, relu)]
    results = SimpleNamespace(experimental_event_tree=lambda: tree, events=lambda: flat(tree))
    assert [(op.step, op.parent) for op in read_ops(results, has_device=True)] == [
        (7, None),
        (8, None),
        (8, 1),
    ]


def test_a_kernel_that_no_operator_launched_is_not_lost() -> None:
    launch = Event("cuLaunchKernel", "Kineto", 40, 50)
    launch.children = [Event(_KERNEL_NAME, "Kineto", 52, 87, device="CUDA")]
    before = Event("cudaLaunchKernel", "Kineto", 2, 3)
    before.children = [Event("of the warm-up", "Kineto", 12, 20, device="CUDA")]
    graph = Event("cudaGraphLaunch", "Kineto", 100, 101)
    tree = [before, *step(7, 10, 200, launch), *step(8, 201, 300), graph]
    tree.sort(key=lambda event: event.start)
    results = SimpleNamespace(experimental_event_tree=lambda: tree, events=lambda: flat(tree))
    ops = read_ops(results, has_device=True)
    assert [(op.step, op.launches_graph, len(op.launched or ())) for op in ops if op.launched] == [
        (7, False, 1)
    ]
    assert [op.step for op in ops if op.launches_graph] == [7]


def test_steps_inside_of_a_range_of_the_users_are_found() -> None:
    relu = Event("aten::relu", "TorchOp", 120, 130, correlation_id=5)
    outside = Event("aten::add", "TorchOp", 50, 60, correlation_id=6)
    theirs = Event("everything", "TorchOp", 5, 400, [outside, *step(7, 100, 200, relu)])
    theirs.scope = RecordScope.USER_SCOPE
    results = SimpleNamespace(
        experimental_event_tree=lambda: [theirs], events=lambda: flat([theirs])
    )
    assert [(op.name, op.step, op.parent) for op in read_ops(results, has_device=True)] == [
        ("lightning_profile.step 7", 7, None),
        ("aten::relu", 7, 0),
    ]


def test_what_hangs_below_an_operator_of_the_warm_up_is_found() -> None:
    node = Event("aten::mm", "TorchOp", 120, 130, correlation_id=5)
    picture = Event("lightning_profile.call 0", "Kineto", 15, 290, [node], device="CUDA")
    before = Event("aten::conv2d", "TorchOp", 10, 30, [picture], correlation_id=6)
    tree = [before, *step(7, 100, 200)]
    results = SimpleNamespace(experimental_event_tree=lambda: tree, events=lambda: flat(tree))
    assert {op.name for op in read_ops(results, has_device=True)} == {
        "lightning_profile.step 7",
        "aten::mm",
    }


@pytest.mark.parametrize(
    "tree",
    [
        [],
        step(7, 100, 200)[:1],
        step(7, 100, 200)[1:],
        [step(7, 100, 200)[0], step(8, 300, 400)[1]],
    ],
)
def test_a_window_without_all_of_its_marks_is_lost(tree: list[Event]) -> None:
    results = SimpleNamespace(experimental_event_tree=lambda: tree, events=lambda: flat(tree))
    with pytest.raises(LostWindowError, match="another profiler"):
        read_ops(results, has_device=True)
