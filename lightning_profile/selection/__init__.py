"""From a model and the user's patterns to the layers to watch.

catalogue lists every layer of a model with its names; patterns says what a pattern such as
``encoder.*.attn`` selects.
"""

from lightning_profile.selection.catalogue import list_layers
from lightning_profile.selection.patterns import (
    LayerSelectionError,
    Pattern,
    Resolved,
    Selection,
    list_patterns,
    select_layers,
)

__all__ = [
    "LayerSelectionError",
    "Pattern",
    "Resolved",
    "Selection",
    "list_layers",
    "list_patterns",
    "select_layers",
]
