"""Record one training step of each model and precision: python -m tests.data.record OUT_FOLDER.

On a machine with a GPU the steps run there; on another one on its CPU, where TF32 does not exist.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# Before torch is imported: libkineto and the CPU allocator write to stderr at every window.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, optim

from lightning_profile.devices import describe_device
from lightning_profile.measurement import Window, allocator_settings
from lightning_profile.selection import select_layers
from tests.data.models import MODELS, batch_of
from tests.recordings import Recorded, write

WHAT = (("mnist", "fp32"), ("mnist", "tf32"), ("mnist", "bf16"), ("resnet_block", "fp32"))
_STEPS_BEFORE = 3  # kernels are chosen, optimizer state and gradients made


def record(model_name: str, precision: str, device: torch.device) -> Recorded:
    """One step of Adam, with forward and backward in its closure as in Lightning."""
    for library in (torch.backends.cudnn, torch.backends.cuda.matmul):
        library.allow_tf32 = precision == "tf32"
    torch.manual_seed(0)
    model = MODELS[model_name]().to(device)
    optimizer = optim.Adam(model.parameters())
    images, labels = batch_of(model_name, device)
    window = Window(select_layers(model, "all").watched, device)

    def closure() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        window.before_backward(loss)
        loss.backward()
        return loss

    for _ in range(_STEPS_BEFORE):
        optimizer.step(closure)
    window.warm_up()
    optimizer.step(closure)
    window.start()
    window.begin_step(0)
    optimizer.step(closure)
    window.end_step()
    recording = window.finish()
    return Recorded(
        model=model_name,
        precision=precision,
        device_type=device.type,
        device_name=describe_device(device).name,
        torch_version=torch.__version__,
        allocator_settings=allocator_settings(),
        recording=recording,
    )


def main() -> None:
    """Write a file for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for model, precision in WHAT:
        if device.type == "cpu" and precision == "tf32":
            continue
        path = folder / f"{device.type}_{model}_{precision}.json.gz"
        write(path, record(model, precision, device))
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
