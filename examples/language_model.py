"""Profile a small causal transformer that learns to write Python, character by character.

Shows a formula for a layer of your own: theory for ``CausalAttention`` counts only the pairs of
characters that the mask leaves, while the count of what ran knows nothing of the mask.

    python examples/language_model.py
    tensorboard --logdir logs/language_model
"""

from __future__ import annotations

import argparse
import inspect
import os
import warnings

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch comes
warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning's, with the newest torch

import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_profile import LayerProfiler
from lightning_profile.theory import Call, Phase, PhaseCosts, phase_cost, phase_costs
from lightning_profile.theory import scaled_dot_product as attention_on_paper

TEXT = inspect.getsource(argparse)  # what it learns to write: a file of Python's own library
ALPHABET = sorted(set(TEXT))
BLOCKS, HEADS, WIDTH, CONTEXT = 2, 4, 128, 64


class CausalAttention(nn.Module):
    """Every character looks at itself and at those before it."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of (N × heads × length × width) tensors."""
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)


@phase_costs.register(CausalAttention)
def causal_attention_costs(module: CausalAttention, call: Call) -> PhaseCosts:
    """Theory for the layer above; traffic and memory stay unknown."""
    n, heads, length, width = call.inputs[0].shape
    paper = attention_on_paper(
        batch=n,
        query_heads=heads,
        key_value_heads=heads,
        queries=length,
        keys=length,
        key_width=width,
        value_width=width,
        is_causal=True,
    )
    return {
        Phase.FORWARD: phase_cost(flop=paper.forward_flop, elementwise=paper.elementwise_flop),
        Phase.GRAD_INPUT: phase_cost(
            flop=paper.backward_flop, elementwise=paper.backward_elementwise_flop
        ),
    }


class Block(nn.Module):
    """Attention and a perceptron, each added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.project_in = nn.Linear(WIDTH, 3 * WIDTH)
        self.attention = CausalAttention()
        self.project_out = nn.Linear(WIDTH, WIDTH)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        """From and to N × length × width."""
        query, key, value = (
            each.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for each in self.project_in(self.norm(x)).chunk(3, dim=-1)
        )
        x = x + self.project_out(self.attention(query, key, value).transpose(1, 2).flatten(-2))
        return x + self.perceptron(x)


class LanguageModel(LightningModule):
    """Predicts the next character of each place in the text."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(ALPHABET), WIDTH)
        self.places = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(ALPHABET)))
        self.losses: list[Tensor] = []

    def forward(self, text: Tensor) -> Tensor:
        """Logits of each character's successor."""
        places = torch.arange(text.shape[1], device=self.device)
        return self.head(self.blocks(self.characters(text) + self.places(places)))

    def training_step(self, text: Tensor, batch_idx: int) -> Tensor:
        """Cross entropy per character."""
        logits = self(text[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
        self.losses.append(loss.detach())
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over all parameters."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main() -> None:
    """Train with the profiler, and say what was learned."""
    parser = argparse.ArgumentParser(description="Profile a causal transformer.")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100, help="per epoch")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--log_dir", default="logs")
    args = parser.parse_args()

    seed_everything(1)
    numbers = torch.tensor([ALPHABET.index(character) for character in TEXT])
    excerpts = numbers.unfold(0, CONTEXT + 1, 16)
    model = LanguageModel()
    trainer = Trainer(
        max_epochs=args.epochs,
        limit_train_batches=args.steps,
        callbacks=[LayerProfiler(layers=[CausalAttention, "head.1"])],
        logger=TensorBoardLogger(args.log_dir, name="language_model"),
        log_every_n_steps=10,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(excerpts, args.batch_size, shuffle=True, num_workers=2))
    print(f"Loss per character: {model.losses[0]:.2f} at first, {model.losses[-1]:.2f} at last")


if __name__ == "__main__":
    main()
