"""Hooks on layers that only look: nothing of the training changes, and no copy has them."""

from lightning_profile.hooks.layer_hooks import LayerHooks

__all__ = ["LayerHooks"]
