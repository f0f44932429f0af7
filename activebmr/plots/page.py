"""Pages: figures with a heading, on which axes are placed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from activebmr import checks
from activebmr.plots.canvas import PictureAxes, picture, png
from activebmr.plots.style import style_now
from activebmr.plots.words import root_of, wrap

__all__ = ["FORMATS", "WIDTH", "Page", "output", "save"]

WIDTH = 9.0  # inches

FORMATS = ("png", "svg", "pdf")
"""What figures can be saved as."""

_SCREEN = 1920  # dots that a slide is wide
_OUTPUT: ContextVar[tuple[str | None, float | None]] = ContextVar("format and dots per inch", default=(None, None))


_INCHES = checks.real(checks.Rule("be a finite number of inches", np.isfinite))
_SIZE = checks.real(checks.POSITIVE)


def _shaded(value: Any, name: str) -> Any:
    if not isinstance(value, Axes) or not value.images:
        raise TypeError(f"{name} must be Axes with a table of shades in them; got {checks.brief(value)}")
    return value


def _ticks(value: Any, name: str) -> list[float]:
    held = checks.numbers(value, name, checks.Rule("be finite", np.isfinite))
    if held.ndim != 1:
        raise ValueError(f"{name} must be a list of numbers; got shape {held.shape}")
    return [float(t) for t in held]


class Page:
    """A figure with a heading, below which axes are placed in inches from the left and from the top.

    Example:
        >>> page = Page(2.8, "Two agents", "Left: the first. Right: the second.")
        >>> for agent, left in enumerate((0.7, 5.1)):
        ...     ax = series(result, "net_wins", agent=agent, ax=page.axes(left, 0.3, 3.6, 2.0))
        >>> path = save(page, "two_agents.png")
    """

    @checks.checked(height=checks.real(checks.POSITIVE), head=checks.text, below=checks.text)
    def __init__(self, height: float, head: str, below: str) -> None:
        points = (WIDTH - 0.3) * 72
        first, second = wrap(head, points, 11.5, "bold"), wrap(below, points, 8.5)
        middle = 0.12 + 0.21 * (first.count("\n") + 1)
        self.start = middle + 0.15 * (second.count("\n") + 1) + 0.14
        self.height = self.start + height
        self.figure = picture((WIDTH, self.height))
        place = {"ha": "left", "va": "top", "linespacing": 1.25, "parse_math": False}
        self.figure.text(0.15 / WIDTH, 1 - 0.12 / self.height, first, fontsize=11.5, fontweight="bold", **place)
        self.figure.text(0.15 / WIDTH, 1 - middle / self.height, second, fontsize=8.5, color="#444444", **place)

    @checks.checked(left=_INCHES, top=_INCHES, width=_SIZE, height=_SIZE)
    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes at a place of the page, below its heading.

        Args:
            left, top: distance from the left and from the heading, inches.
            width, height: of the axes, inches, > 0.
        """
        bottom = 1 - (self.start + top + height) / self.height
        return self.figure.add_axes((left / WIDTH, bottom, width / WIDTH, height / self.height), axes_class=PictureAxes)

    def _repr_png_(self) -> bytes:
        """What notebooks show of a page."""
        return png(self.figure)

    @checks.checked(ax=_shaded, left=_INCHES, top=_INCHES, height=_SIZE, label=checks.text, ticks=_ticks)
    def scale(self, ax: Axes, left: float, top: float, height: float, label: str, ticks: Sequence[float] = (0, 0.5, 1)) -> None:
        """The scale of the shades of some axes.

        Args:
            ax: with a table of shades in them.
            left, top, height: see `axes`.
            label: what the shades stand for.
            ticks: numbers that are written beside it.
        """
        bar = self.figure.colorbar(ax.images[0], cax=self.axes(left, top, 0.11, height), ticks=list(ticks))
        bar.ax.set_yticklabels([f"{t:g}" for t in ticks])
        bar.set_label(label)
        bar.outline.set_linewidth(0.5)
        bar.ax.tick_params(length=2)


@checks.checked(form=checks.optional(checks.one_of(FORMATS)), dpi=checks.optional(checks.real(checks.POSITIVE)))
@contextmanager
def output(form: str | None = None, dpi: float | None = None) -> Iterator[None]:
    """What `save` writes within a ``with`` block, whatever it is asked for: so figures that others draw can be had otherwise.

    Args:
        form: one of `FORMATS`; None: what the names of the files say.
        dpi: dots per inch, 20 to 1200; None: as usual. Of svg and pdf only what is drawn as dots (shades) depends on it.

    Raises:
        ValueError: if one of them is out of range.

    Example:
        >>> with output("svg"):
        ...     path = save(insight(result), "insight.png")
        >>> path.name
        'insight.svg'
    """
    if dpi is not None and not 20 <= dpi <= 1200:
        raise ValueError(f"dpi must lie in 20..1200; got {dpi}")
    before = _OUTPUT.set((form, dpi))
    try:
        yield
    finally:
        _OUTPUT.reset(before)


def _figure(value: Any, name: str) -> Any:
    if not isinstance(value, (Figure, Axes, Page)):
        raise TypeError(f"{name} must be a Figure, Axes or a Page; got {checks.brief(value)}")
    return value


@checks.checked(figure=_figure, path=checks.path_like, dpi=checks.optional(checks.real(checks.POSITIVE)))
def save(figure: Figure | Axes | Page, path: str | Path, dpi: float | None = None) -> Path:
    """Write a figure to a file: a PNG of a modest size, or an SVG or PDF. The same figure always gives the same file.

    Args:
        figure: the figure, its axes or its page.
        path: its ending says what to write, see `FORMATS`.
        dpi: dots per inch; by default 125, or as many as make a slide 1920 dots wide in the style of talks.

    Returns:
        the file written: ``path``, with another ending within a block of `output` that says so.

    Raises:
        ValueError: if the ending is none of them.

    Example:
        >>> save(log_odds(result), "log_odds.pdf").name
        'log_odds.pdf'
    """
    path = Path(path)
    form, dots = _OUTPUT.get()
    path = path if form is None else path.with_suffix(f".{form}")
    drawn = figure if isinstance(figure, Figure) else figure.figure if isinstance(figure, Page) else root_of(figure)
    kind = path.suffix[1:].lower()
    if kind not in FORMATS:
        raise ValueError(f"path must end in one of {[f'.{f}' for f in FORMATS]}; got {str(path)!r}")
    dpi = dots or dpi or (_SCREEN / drawn.get_figwidth() if style_now() == "talk" else 125)
    if kind == "png":
        drawn.savefig(path, dpi=dpi, pil_kwargs={"optimize": True})
    else:  # without the date and with fixed names inside, so that nothing changes that does not look different
        date = {"svg": "Date", "pdf": "CreationDate"}[kind]
        with matplotlib.rc_context({"svg.hashsalt": "activebmr"}):
            drawn.savefig(path, format=kind, dpi=dpi, metadata={date: None})
    return path
