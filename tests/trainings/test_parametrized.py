"""Layers whose weights are computed, or come to be at the first call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import weight_norm as hooked_weight_norm

from lightning_profile import LayerProfiler
from tests.conftest import read_json, train
from tests.trainings.rows import SCHEDULE, both, flop, profile
from tests.trainings.test_passes import CONV2, Model

FC = 2 * 8 * 200 * 10


class Normed(Model):
    """conv2 by weight normalisation, fc by spectral normalisation."""

    def __init__(self) -> None:
        super().__init__()
        parametrizations.weight_norm(self.conv2)
        parametrizations.spectral_norm(self.fc)


def test_parametrized_layers_have_the_theory_of_what_they_are(tmp_path: Path) -> None:
    rows = profile(tmp_path, ["Conv2d-2", "Linear-1"], model=Normed)
    assert rows["conv2", "forward"]["layer_type"] == "Conv2d"
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}
    # One power iteration, u = W v and v = Wᵀ u, then σ = uᵀ W v: three products with the matrix
    # and one with a vector, which the layer runs and a Linear does not.
    power_iteration = 3 * 2 * 200 * 10 + 2 * 10
    assert flop(rows, "fc")["forward"] == (str(FC), str(FC + power_iteration))
    assert rows["fc", "forward"]["note"] == ""


def test_their_parameters_are_those_in_memory(tmp_path: Path) -> None:
    profile(tmp_path, ["conv2"], model=Normed)
    (footprint,) = read_json(tmp_path)["windows"][0]["footprints"]
    bytes_on_paper = 4 * (8 + 8 * 4 * 9 + 8)  # bias, direction, and a length per output
    assert footprint["theoretical"]["parameter_bytes"] == bytes_on_paper
    assert footprint["measured"]["parameter_bytes"] == bytes_on_paper


def test_looking_at_them_does_not_train_them(tmp_path: Path) -> None:
    # Each reading of a spectrally normed weight in training is a power iteration.
    bare, _ = train(tmp_path / "bare", model=Normed)
    profiled, _ = train(tmp_path / "profiled", LayerProfiler(None, SCHEDULE), model=Normed)
    for name, value in bare.state_dict().items():
        assert torch.equal(value, profiled.state_dict()[name]), name


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_weight_norm_by_hooks_as_it_was_before(tmp_path: Path) -> None:
    class Hooked(Model):
        def __init__(self) -> None:
            super().__init__()
            hooked_weight_norm(self.conv2)

    rows = profile(tmp_path, "conv2", model=Hooked)
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.filterwarnings("ignore:.*uninitialized parameters")
def test_lazy_layers_are_found_before_and_costed_after_their_first_call(tmp_path: Path) -> None:
    class Lazy(Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv2 = nn.LazyConv2d(8, 3, padding=1)
            self.fc = nn.LazyLinear(10)

        def forward(self, images: Tensor) -> Tensor:
            hidden = F.relu(self.norm(self.conv2(F.relu(self.conv1(images)))))
            return self.fc(F.max_pool2d(hidden, 2).flatten(1))

    rows = profile(tmp_path, ["Conv2d-2", "Linear"], model=Lazy)
    assert flop(rows, "conv2") == {"forward": both(CONV2), "backward": both(2 * CONV2)}
    assert flop(rows, "fc") == {"forward": both(FC), "backward": both(2 * FC)}
