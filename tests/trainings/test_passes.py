"""Forward, backward and recomputation as real models have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.conftest import SmallCnn
from tests.trainings.rows import both, flop, profile

CONV1, CONV2 = 2 * 8 * 4 * 100 * 9, 2 * 8 * 8 * 100 * 4 * 9  # a batch of 8


class Model(SmallCnn):
    """The small CNN without the layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        del self.unused

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=1e-2)


class Shared(Model):
    """One convolution, called three times, within a block that is selected too."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.conv1(images)
        for _ in range(3):
            hidden = self.block(hidden)
        hidden = F.relu(self.norm(self.conv2(hidden)))
        return self.fc(F.max_pool2d(hidden, 2).flatten(1))


def test_a_shared_layer_inside_of_a_selected_one_is_counted_once(tmp_path: Path) -> None:
    once = 2 * 8 * 4 * 100 * 4 * 9
    rows = profile(tmp_path, ["block", "block.0", "conv2"], model=Shared)
    for name in ("block", "block.0"):
        assert flop(rows, name) == {"forward": both(3 * once), "backward": both(6 * once)}
        assert rows[name, "forward"]["calls"] == rows[name, "backward"]["calls"] == "3"
    # Gradients of several calls are added up, so what each leaves behind is not their sum.
    assert rows["block.0", "backward"]["theoretical_allocated_bytes"] == ""
    assert rows["block", "forward"]["own_counted_flop"] == "0"
    assert rows["block.0", "forward"]["own_counted_flop"] == str(3 * once)
    own = sum(int(row["own_counted_flop"]) for row in rows.values())
    assert own == 3 * 3 * once + 3 * CONV2


def test_a_second_name_of_a_shared_module_selects_it(tmp_path: Path) -> None:
    class Aliased(Model):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.ModuleDict({"alias": self.conv2})

    rows = profile(tmp_path, "second.alias", model=Aliased)
    assert set(rows) == {("conv2", "forward"), ("conv2", "backward")}


@pytest.mark.parametrize(
    ("frozen", "conv1", "conv2"),
    [
        ((), {"backward": both(CONV1)}, {"backward": both(2 * CONV2)}),
        # No gradient is needed below conv2, so it computes grad_weight only.
        (("conv1",), {"backward": ("0", "")}, {"backward": both(CONV2)}),
        # conv1 needs a gradient through conv2, which itself needs none of its weights.
        (("conv2",), {"backward": both(CONV1)}, {"backward": both(CONV2)}),
        (("conv1", "conv2"), {"backward": ("0", "")}, {"backward": ("0", "")}),
    ],
)
def test_only_the_gradients_that_are_computed_are_counted(
    tmp_path: Path, frozen: tuple[str, ...], conv1: Any, conv2: Any
) -> None:
    def model() -> LightningModule:
        made = Model()
        for name in frozen:
            getattr(made, name).requires_grad_(requires_grad=False)
        return made

    rows = profile(tmp_path, ["conv1", "conv2"], model=model)
    assert flop(rows, "conv1") == {"forward": both(CONV1)} | conv1
    assert flop(rows, "conv2") == {"forward": both(CONV2)} | conv2
    for name in frozen:
        if flop(rows, name)["backward"] == ("0", ""):
            assert rows[name, "backward"]["note"] == "has no backward: no gradient is needed"


def test_a_backbone_under_no_grad_has_no_backward(tmp_path: Path) -> None:
    class Frozen(Model):
        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                hidden = F.relu(self.conv1(images))
            hidden = F.relu(self.norm(self.conv2(hidden)))
            return self.fc(F.max_pool2d(hidden, 2).flatten(1))

    rows = profile(tmp_path, ["conv1", "conv2"], model=Frozen)
    assert flop(rows, "conv1") == {"forward": both(CONV1), "backward": ("0", "")}
    assert flop(rows, "conv2")["backward"] == both(CONV2)


def test_an_inplace_activation_after_the_layer_still_works(tmp_path: Path) -> None:
    class Inplace(Model):
        def forward(self, images: Tensor) -> Tensor:
            hidden = F.relu(self.conv1(images), inplace=True)
            hidden = self.conv2(hidden).relu_()
            return self.fc(F.max_pool2d(self.norm(hidden), 2).flatten(1))

    rows = profile(tmp_path, ["conv1", "conv2"], model=Inplace)
    assert flop(rows, "conv1")["backward"] == both(CONV1)
    assert flop(rows, "conv2")["backward"] == both(2 * CONV2)


@pytest.mark.parametrize(
    "options",
    [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.5}, {"gradient_clip_val": 1e-3}],
)
def test_accumulation_and_clipping_leave_the_numbers_of_a_step(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    rows = profile(tmp_path, "conv2", model=Model, **options)
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}
    assert rows["conv2", "forward"]["steps"] == "2"
    steps = 2 if "accumulate_grad_batches" in options else 4  # optimizer steps by then
    assert rows["conv2", "forward"]["global_step"] == str(steps)


def checkpointed(*, use_reentrant: bool) -> Callable[[], LightningModule]:
    class Checkpointed(Model):
        def forward(self, images: Tensor) -> Tensor:
            hidden = self.conv1(images)
            hidden = checkpoint(self.part, hidden, use_reentrant=use_reentrant)
            return self.fc(F.max_pool2d(hidden, 2).flatten(1))

        def part(self, hidden: Tensor) -> Tensor:
            return F.relu(self.norm(self.conv2(hidden)))

    return Checkpointed


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_recomputed_forward_is_a_part_of_its_own(tmp_path: Path, use_reentrant: bool) -> None:
    model = checkpointed(use_reentrant=use_reentrant)
    rows = profile(tmp_path, ["conv1", "conv2"], model=model)
    assert flop(rows, "conv1") == {"forward": both(CONV1), "backward": both(CONV1)}
    assert flop(rows, "conv2") == {
        "forward": both(CONV2),
        "recompute": both(CONV2),
        "backward": both(2 * CONV2),
    }
    assert rows["conv2", "recompute"]["calls"] == "1"
    assert int(rows["conv2", "recompute"]["cpu_time_ns"]) > 0


def test_a_recomputation_that_ends_early_has_not_computed(tmp_path: Path) -> None:
    class EndsInTheLayer(Model):
        def forward(self, images: Tensor) -> Tensor:
            hidden = self.conv1(images)
            # All that conv2's backward needs is its input, so it isn't computed again.
            hidden = checkpoint(self.conv2, hidden, use_reentrant=False)
            return self.fc(F.max_pool2d(F.relu(self.norm(hidden)), 2).flatten(1))

    rows = profile(tmp_path, "conv2", model=EndsInTheLayer)
    assert flop(rows, "conv2") == {
        "forward": both(CONV2),
        "recompute": ("", "0"),
        "backward": both(2 * CONV2),
    }
    assert "ended early" in rows["conv2", "recompute"]["note"]


class Gan(LightningModule):
    """Two optimizers by hand: the critic learns from both, the maker through the critic."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.maker = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 144))
        self.critic = nn.Sequential(nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        images = batch[0].flatten(1)
        noise = torch.randn(len(images), 4, device=self.device)
        for_critic, for_maker = self.optimizers()

        self.toggle_optimizer(for_critic)
        loss = F.softplus(-self.critic(images)).mean()
        loss = loss + F.softplus(self.critic(self.maker(noise).detach())).mean()
        self.step(for_critic, loss)

        self.toggle_optimizer(for_maker)
        self.step(for_maker, F.softplus(-self.critic(self.maker(noise))).mean())

    def step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(optimizer)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(part.parameters()) for part in (self.critic, self.maker)]


def test_a_gan_has_each_pass_attributed(tmp_path: Path) -> None:
    rows = profile(tmp_path, "Linear", model=Gan)
    critic = {"0": 2 * 8 * 144 * 32, "2": 2 * 8 * 32}
    maker = {"0": 2 * 8 * 4 * 16, "2": 2 * 8 * 16 * 144}
    # The critic is called on real, on made and, for the maker, on made images again. Its own
    # passes need grad_weight (and grad_input above the first layer), the maker's only grad_input.
    assert flop(rows, "critic.0") == {
        "forward": both(3 * critic["0"]),
        "backward": both(2 * critic["0"] + critic["0"]),
    }
    assert flop(rows, "critic.2") == {
        "forward": both(3 * critic["2"]),
        "backward": both(2 * 2 * critic["2"] + critic["2"]),
    }
    # The critic's pass makes images without a backward; noise needs no gradient.
    assert flop(rows, "maker.0") == {"forward": both(2 * maker["0"]), "backward": both(maker["0"])}
    assert flop(rows, "maker.2") == {
        "forward": both(2 * maker["2"]),
        "backward": both(2 * maker["2"]),
    }
    assert (rows["critic.0", "forward"]["calls"], rows["critic.0", "backward"]["calls"]) == (
        "3",
        "3",
    )
    assert (rows["maker.2", "forward"]["calls"], rows["maker.2", "backward"]["calls"]) == ("2", "1")


def test_data_dependent_control_flow_keeps_theory_beside_its_own_step(tmp_path: Path) -> None:
    class Branching(Model):
        def forward(self, images: Tensor) -> Tensor:
            hidden = self.conv1(images)
            repeats = 1 + int(self.current_batch % 2)
            hidden = sum((self.conv2(hidden) for _ in range(repeats)), start=torch.zeros(()))
            return self.fc(F.max_pool2d(F.relu(self.norm(hidden)), 2).flatten(1))

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.current_batch = batch_idx
            return super().training_step(batch, batch_idx)

    rows = profile(tmp_path, "conv2", model=Branching)
    theory, counted = flop(rows, "conv2")["forward"]
    assert theory == counted
    assert int(theory) in (CONV2, 2 * CONV2)
    assert "differ in shapes" in rows["conv2", "forward"]["note"]


class Pair(nn.Module):
    """Takes keywords only and returns tensors in a dictionary and a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, *, images: Tensor, scale: float = 1.0) -> dict[str, Any]:
        made = self.conv(images) * scale
        return {"images": made, "parts": (made.mean(), "text")}


def test_keywords_dictionaries_and_tuples_are_read(tmp_path: Path) -> None:
    class Keyed(Model):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, images: Tensor) -> Tensor:
            made = self.pair(images=images)
            return super().forward(made["images"] + made["parts"][0])

    rows = profile(tmp_path, ["pair", "pair.conv"], model=Keyed)
    once = 2 * 8 * 144 * 9
    for name in ("pair", "pair.conv"):
        assert flop(rows, name) == {"forward": both(once), "backward": both(once)}


class Encoder(Model):
    """Two residual branches around attention, and two backward passes in a step, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 4)
        self.automatic_optimization = False

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.norm(self.conv2(self.conv1(images))).flatten(2).transpose(1, 2)
        return self.head(self.encoder(hidden)).mean(1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        for _ in range(2):  # two backward passes in one step
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(F.cross_entropy(self(batch[0]), batch[1] % 4))
            optimizer.step()


def test_gradients_of_branches_are_added_up_in_the_block_and_not_in_the_rest(
    tmp_path: Path,
) -> None:
    profile(tmp_path, "all", model=Encoder)
    lines = next(tmp_path.rglob("layer_profile.jsonl")).read_text().splitlines()
    window = json.loads(lines[-1])
    sums = {
        row["layer"]: use["count"]
        for row in window["steps"]
        if row["phase"] != "forward" and not row["is_optimizer"]
        for use in row["operators"]
        if use["name"] in ("aten::add", "aten::add_")
    }
    # In each pass: the inputs of both branches, and what query, key and value are parts of.
    assert sums == {"(model)": 2 * 4, "encoder": 2 * 4, "encoder.self_attn": 2 * 2}
