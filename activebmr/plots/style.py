"""Looks that all plots share: colours, small type, titles that fit."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

__all__ = ["PALETTE", "axes_of", "colour", "style", "tidy", "title", "whole_numbers"]

PALETTE = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "grey": "#7F7F7F",
    "black": "#222222",
}
"""Colours that people with any kind of colour vision can tell apart (Okabe and Ito 2008; yellow left out: too pale for lines)."""

_SCHEMES = ("blue", "vermilion", "green", "purple", "orange", "sky", "grey")
_STYLE = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.labelcolor": PALETTE["black"],
    "axes.titlecolor": PALETTE["black"],
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.7,
    "axes.titlepad": 5,
    "axes.unicode_minus": True,
    "text.color": PALETTE["black"],
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": PALETTE["black"],
    "ytick.labelcolor": PALETTE["black"],
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 140,
}


def style() -> AbstractContextManager[None]:
    """Settings for figures in print, within a ``with`` block: small type, thin lines. Afterwards all is as it was.

    Draw and save inside the block; ``savefig`` then uses 140 dots per inch.
    """
    return matplotlib.rc_context(_STYLE)  # type: ignore[return-value]


def colour(index: int) -> str:
    """Colour of the scheme with this position in a result; they repeat after seven."""
    return PALETTE[_SCHEMES[index % len(_SCHEMES)]]


def axes_of(ax: Axes | None, width: float = 5.5, height: float = 3.2) -> Axes:
    """The axes given, or those of a new figure that pyplot does not know."""
    if ax is not None:
        return ax
    return Figure(figsize=(width, height), layout="constrained").subplots()


def tidy(ax: Axes) -> None:
    """Leave out the frame's right and upper side."""
    ax.spines[["top", "right"]].set_visible(False)


def whole_numbers(axis: Any, most: int = 8) -> None:
    """Ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))


def title(ax: Axes, text: str) -> None:
    """A title at the left, broken into lines that are no wider than the axes."""
    font = FontProperties(size=matplotlib.rcParams["axes.titlesize"], weight=matplotlib.rcParams["axes.titleweight"])
    figure = ax.get_figure(root=True) if hasattr(ax.figure, "get_figure") else ax.figure
    room = ax.bbox.width / figure.dpi * 72.0 / font.get_size_in_points()  # in ems
    one_em = FontProperties(size=100, weight=font.get_weight())
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_to_path.get_text_width_height_descent(longer, one_em, False)[0] / 100 > room:
            lines.append(word)
        else:
            lines[-1] = longer
    ax.set_title("\n".join(lines), loc="left", parse_math=False)
