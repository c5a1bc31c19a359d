"""Torch computes a transformer's layer at once in evaluation, unless there are hooks in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_profile.hooks.no_copies import InNoCopy


@dataclass(frozen=True, slots=True)
class FastPathHook(InNoCopy):
    """Takes all hooks of ours off a transformer's layer that torch may compute at once.

    Were there any, in it or in a module inside of it, torch would compute it one by one, with other
    bits. It looks for them only after this is called.
    """

    fused: nn.TransformerEncoderLayer
    let_go: Callable[[nn.TransformerEncoderLayer], None]

    def __call__(self, module: nn.TransformerEncoderLayer, args: Any) -> None:
        """A forward begins."""
        # A shallow copy of it has its hooks and its layers.
        is_it = module._forward_pre_hooks is self.fused._forward_pre_hooks
        if torch.compiler.is_compiling() or not is_it:
            return
        try:
            is_fast = may_take_fast_path(module)
        except Exception:  # rather no row than other bits
            is_fast = True
        if is_fast:
            self.let_go(self.fused)


def may_take_fast_path(layer: nn.TransformerEncoderLayer) -> bool:
    """Whether nothing but its arguments could keep torch from the fast path, were there no hooks.

    The conditions are those of torch's ``nn/modules/transformer.py``.
    """
    attention = layer.self_attn
    is_supported = (
        not layer.training
        and attention.batch_first
        and attention.in_proj_bias is not None
        and attention._qkv_same_embed_dim
        and attention.num_heads % 2 == 0
        and bool(layer.activation_relu_or_gelu)
        and layer.norm1.eps == layer.norm2.eps
    )
    if not is_supported or torch.is_autocast_enabled():
        return False
    parts = (layer.norm1, layer.norm2, layer.linear1, layer.linear2, attention.out_proj)
    used = [each for part in parts for each in (part.weight, part.bias)]
    used += [attention.in_proj_weight, attention.in_proj_bias]
    is_trained = torch.is_grad_enabled() and any(each.requires_grad for each in used)
    return torch.backends.mha.get_fastpath_enabled() and not is_trained
