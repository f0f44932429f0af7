"""Looks that all plots share: colours, small type, titles that fit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

__all__ = [
    "PALETTE",
    "SHADES",
    "axes_of",
    "colour",
    "many",
    "number",
    "shade_bar",
    "style",
    "tidy",
    "title",
    "whole_numbers",
    "wrap",
]

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
"""Colours that people with any kind of colour vision can tell apart (Okabe and Ito 2008; without yellow)."""

SHADES = "Blues"
"""Colour map of probabilities: white for 0, dark for 1."""

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
    "savefig.dpi": 130,
}


def style() -> AbstractContextManager[None]:
    """Settings for figures in print, within a ``with`` block: small type, thin lines. Afterwards all is as it was.

    Draw and save inside the block; ``savefig`` then uses 130 dots per inch.
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


def wrap(text: str, points: float, size: float, weight: str | float = "normal") -> str:
    """Break a text into lines that are no wider than so many points when set in type of this size."""
    font = FontProperties(size=100, weight=weight)
    room = 0.97 * points * 100 / size  # on screen, letters are set a little wider
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_to_path.get_text_width_height_descent(longer, font, False)[0] > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def number(value: float, form: str = "#.3g") -> str:
    """A number in words: with a true minus sign, and none before zero."""
    text = format(value, form).removesuffix(".")
    return text.lstrip("-") if text.startswith("-") and float(text) == 0 else text.replace("-", "−")


def many(count: int, one: str, more: str = "") -> str:
    """A number and its noun, in the singular or the plural."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def title(ax: Axes, text: str) -> None:
    """A title at the left, broken into lines that are no wider than the axes."""
    size = FontProperties(size=matplotlib.rcParams["axes.titlesize"]).get_size_in_points()
    weight = matplotlib.rcParams["axes.titleweight"]
    points = ax.bbox.width / ax.figure.dpi * 72
    ax.set_title(wrap(text, points, size, weight), loc="left", parse_math=False)


def shade_bar(ax: Axes, image: Any, label: str, ticks: Sequence[float], pad: float = 0.02) -> None:
    """The scale of the shades, beside the axes."""
    bar = ax.figure.colorbar(image, ax=ax, pad=pad, fraction=0.05, aspect=25, ticks=list(ticks))
    bar.set_ticklabels([f"{t:g}" for t in ticks])
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)  # type: ignore[operator]
    bar.ax.tick_params(length=2)
