"""Looks that all plots share: colours, small type, legends, titles that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from activebmr import checks
from activebmr.plots.canvas import PictureAxes, picture
from activebmr.plots.words import fit, root_of, width_of, wrap

__all__ = [
    "PALETTE",
    "SHADES",
    "STYLES",
    "axes_of",
    "colour",
    "fit",
    "legend_below",
    "many",
    "number",
    "shade_bar",
    "short",
    "style",
    "style_now",
    "tidy",
    "time_axis",
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


STYLES = {"print": (5.5, 3.2), "talk": (7.5, 7.5 * 9 / 16)}
"""Kinds of figures, and the size in inches of one that stands alone. Those of talks have the shape of a slide and are small for
their type, so that it is large once they fill the screen."""

_KIND: ContextVar[str] = ContextVar("kind of figures", default="print")


@checks.checked(kind=checks.one_of(STYLES))
@contextmanager
def style(kind: str = "print") -> Iterator[None]:
    """Settings for figures, within a ``with`` block. Afterwards all is as it was.

    Draw and save inside the block.

    Args:
        kind: ``"print"``: small type, thin lines, 130 dots per inch. ``"talk"``: figures that are made inside the block have
            the shape of a slide (16:9) and type that can be read from the last row; 256 dots per inch, 1920 x 1080 on the
            whole. Pages that a paradigm lays out by hand stay as they are.

    Raises:
        ValueError: if there is no such kind.

    Example:
        >>> with style("talk"):
        ...     path = save(log_odds(result), "log_odds.png")
    """
    checks.choice(kind, "kind", STYLES)
    settings = _STYLE | ({"savefig.dpi": 256, "axes.titlesize": 10} if kind == "talk" else {})
    before = _KIND.set(kind)
    try:
        with matplotlib.rc_context(settings):
            yield
    finally:
        _KIND.reset(before)


def style_now() -> str:
    """The kind of the `style` block that one is in; outside of any, ``"print"``."""
    return _KIND.get()


@checks.checked(index=checks.whole(0))
def colour(index: int) -> str:
    """Colour of the scheme with this position in a result; they repeat after seven.

    Example:
        >>> colour(0), colour(7)
        ('#0072B2', '#0072B2')
    """
    return PALETTE[_SCHEMES[index % len(_SCHEMES)]]


def axes_of(ax: Axes | None, width: float = 0.0, height: float = 0.0) -> Axes:
    """The axes given, or those of a new figure that pyplot does not know: as large as asked (0: as usual), or as a slide."""
    if ax is not None:
        return ax
    usual = STYLES[style_now()]
    size = usual if style_now() == "talk" else (width or usual[0], height or usual[1])
    return picture(size, layout="constrained").add_subplot(axes_class=PictureAxes)


def tidy(ax: Axes) -> None:
    """Leave out the frame's right and upper side."""
    ax.spines[["top", "right"]].set_visible(False)


def whole_numbers(axis: Any, most: int = 8) -> None:
    """Ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))


def short(text: str, most: int = 28) -> str:
    """A text of no more letters than so many: of longer ones the end is left out."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def number(value: float, form: str = "") -> str:
    """A number in words: with a true minus sign, and none before zero; three digits unless the form says otherwise."""
    text = format(value, form or (".0f" if 999.5 <= abs(value) < 1e6 else "#.3g")).removesuffix(".")
    return text.lstrip("-") if text.startswith("-") and float(text) == 0 else text.replace("-", "−")


def many(count: int, one: str, more: str = "") -> str:
    """A number and its noun, in the singular or the plural."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def time_axis(ax: Axes, n_times: int) -> None:
    """The times of a trial, from 1: every one as a tick if there is room."""
    ax.set_xlim(0.5, n_times + 0.5)
    if n_times <= 30:
        ax.set_xticks(range(1, n_times + 1))
    else:
        whole_numbers(ax.xaxis, 12)
    ax.set_xlabel("time")


@checks.checked(ax=checks.an(Axes), text=checks.text)
def title(ax: Axes, text: str) -> None:
    """A title at the left, broken into lines that are no wider than the axes are when they are drawn.

    Example:
        >>> ax = log_odds(result)
        >>> title(ax, "What the first agent thinks of the likeliest rule")
    """
    fit(ax.set_title(" ".join(text.split()), loc="left"))


def legend_below(ax: Axes, handles: Sequence[Artist] | None = None, points: float = 25.0, room: float = 0.62) -> Legend | None:
    """A legend in one row or more below the axes, at the left; none without entries.

    Args:
        ax: the axes.
        handles: artists with labels; by default those that the axes hold.
        points: distance from the axes.
        room: how wide it may be, as a share of the figure's width.
    """
    handles = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    if not handles:
        return None
    figure = root_of(ax)
    size = FontProperties(size=matplotlib.rcParams["legend.fontsize"]).get_size_in_points()
    widths = [width_of(str(h.get_label()), size, "normal") + (_HANDLE + _PAD + _SPACING) * size for h in handles]
    columns = len(handles)
    while columns > 1 and _table_width(widths, columns) > room * figure.get_figwidth() * 72:
        columns -= 1
    return ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=offset_copy(ax.transAxes, figure, 0, -points, units="points"),
        ncols=columns,
        borderaxespad=0.0,
        borderpad=0.0,
        handlelength=_HANDLE,
        handletextpad=_PAD,
        columnspacing=_SPACING,
        frameon=False,
    )


_HANDLE, _PAD, _SPACING = 1.2, 0.8, 1.6  # of legends, in heights of their type


def _table_width(widths: Sequence[float], columns: int) -> float:
    """How wide a legend is whose entries fill so many columns, one after the other."""
    each, more = divmod(len(widths), columns)
    total, at = 0.0, 0
    for c in range(columns):
        n = each + (c < more)
        total += max(widths[at : at + n])
        at += n
    return total


def shade_bar(ax: Axes, image: Any, label: str, ticks: Sequence[float], pad: float = 0.02) -> None:
    """The scale of the shades, beside the axes."""
    bar = ax.figure.colorbar(image, ax=ax, pad=pad, fraction=0.05, aspect=25, ticks=list(ticks))
    bar.set_ticklabels([f"{t:g}" for t in ticks])
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)  # type: ignore[operator]
    bar.ax.tick_params(length=2)
