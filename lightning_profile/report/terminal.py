"""What is printed for people, as long as somebody reads it."""

from __future__ import annotations

from rich.console import Console


class Terminal(Console):
    """A console whose reader may go away, as in ``python train.py | head -1``.

    rich would end the process then, and with it the training.
    """

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False)  # in a layer's name they would mean nothing

    def on_broken_pipe(self) -> None:
        """Nobody reads any more: say nothing from now on."""
        self.quiet = True
