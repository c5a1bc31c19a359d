"""How every figure looks, a window's and a study's.

The colours are those of Okabe and Ito (Color Universal Design, https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

from typing import Any

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, YELLOW = "#0072B2", "#D55E00", "#CC79A7", "#F0E442"
GREY = "#999999"  # for what is left over
COLOURS = (BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE, YELLOW, GREY)
PHASES = {"forward": (BLUE, "o"), "backward": (VERMILLION, "s"), "recompute": (GREEN, "^")}
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "legend.fontsize": 6.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "svg.hashsalt": "lightning_profile",  # the same figure gives the same file
    "figure.facecolor": "white",
}
