"""The vendor's peaks of a device, found by the name that torch reports.

A name matches as a whole or not at all, and the number of multiprocessors must be the card's: a
MIG slice, a laptop's or a cut-down variant is another device. A card whose power limit was lowered
reports the same name, so what it reaches is less than its row says.
"""

from __future__ import annotations

import torch

from lightning_profile.devices.card import Card
from lightning_profile.devices.peaks import CARDS
from lightning_profile.records import Ceilings


def find_card(reported_name: str, multiprocessors: int) -> Card | None:
    """The row of a card; ``None`` for a slice, a variant or a card that is not in the table.

    Args:
        reported_name: From ``torch.cuda.get_device_name``.
        multiprocessors: From ``torch.cuda.get_device_properties``.
    """
    name = reported_name.removeprefix("NVIDIA ")
    for card in CARDS:
        if card.reported_name == name and card.multiprocessors == multiprocessors:
            return card
    return None


def vendor_ceilings(device: torch.device) -> Ceilings | None:
    """The vendor's peaks of ``device``; ``None`` if the table does not have it."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    card = find_card(properties.name, properties.multi_processor_count)
    return None if card is None else card.ceilings
