"""Profile a GAN: manual optimization, two optimizers, several backward passes per step.

The discriminator runs three times per step, on real and on generated points and once more for the
generator. Its own pass computes the gradients of its weights; in the generator's pass they are
frozen by ``toggled_optimizer``, and only the gradient of its input passes through.

    python examples/gan.py
    tensorboard --logdir logs/gan
"""

from __future__ import annotations

import argparse
import math
import os
import warnings

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes
warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning's, with the newest torch

import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader

from lightning_profile import LayerProfiler

NOISE, WIDTH = 8, 64


class CircleGan(LightningModule):
    """Learns to generate points on the unit circle."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = perceptron(NOISE, 2)
        self.discriminator = perceptron(2, 1)

    def forward(self, points: int) -> Tensor:
        """Generated points."""
        return self.generator(torch.randn(points, NOISE, device=self.device))

    def training_step(self, real: Tensor, batch_idx: int) -> None:
        """One step of the discriminator, then one of the generator."""
        generator_optimizer, discriminator_optimizer = self.optimizers()

        with self.toggled_optimizer(discriminator_optimizer):
            verdict_on_real = self.discriminator(real)
            verdict_on_fake = self.discriminator(self(len(real)))
            loss = F.softplus(-verdict_on_real).mean() + F.softplus(verdict_on_fake).mean()
            discriminator_optimizer.zero_grad()
            self.manual_backward(loss)
            discriminator_optimizer.step()
        self.log("discriminator/loss", loss, prog_bar=True)

        with self.toggled_optimizer(generator_optimizer):
            loss = F.softplus(-self.discriminator(self(len(real)))).mean()
            generator_optimizer.zero_grad()
            self.manual_backward(loss)
            generator_optimizer.step()
        self.log("generator/loss", loss, prog_bar=True)

    def configure_optimizers(self) -> list[optim.Optimizer]:
        """An Adam for each of the two."""
        return [
            optim.Adam(self.generator.parameters(), lr=1e-3, betas=(0.5, 0.99)),
            optim.Adam(self.discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99)),
        ]


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, WIDTH),
        nn.LeakyReLU(0.2),
        nn.Linear(WIDTH, WIDTH),
        nn.LeakyReLU(0.2),
        nn.Linear(WIDTH, outputs),
    )


def main() -> None:
    """Train with the profiler, and say how well the points lie on the circle."""
    parser = argparse.ArgumentParser(description="Profile a GAN.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200, help="per epoch")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--log_dir", default="logs")
    args = parser.parse_args()

    seed_everything(1)
    angles = 2 * math.pi * torch.rand(args.steps * args.batch_size)
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    model = CircleGan()
    trainer = Trainer(
        max_epochs=args.epochs,
        callbacks=[LayerProfiler(layers="Linear")],
        logger=TensorBoardLogger(args.log_dir, name="gan"),
        log_every_n_steps=10,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(points, args.batch_size, shuffle=True, num_workers=2))
    with torch.no_grad():
        off = (model(1000).norm(dim=1) - 1).abs().mean()
    print(f"Mean distance of generated points from the circle: {off:.3f}")


if __name__ == "__main__":
    main()
