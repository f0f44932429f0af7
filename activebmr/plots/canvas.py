"""Figures and axes that notebooks show without any magic."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from activebmr.plots.words import root_of, settle

__all__ = ["Picture", "PictureAxes", "picture", "png"]

_DPI = 110  # dots per inch in notebooks


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG, as notebooks ask for it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


class Picture(Figure):
    """A figure that is shown where a cell of a notebook ends with it, with or without ``%matplotlib inline``."""

    def draw(self, renderer: Any) -> None:
        """Draw the figure, once the lines of its titles have settled."""
        for text in self.findobj(Text):  # names are no formulas, whatever they hold; those of ticks of log scales are
            if "$" in text.get_text() and "\\mathdefault" not in text.get_text():
                text.set_parse_math(False)
        settle(self)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        return png(self)


class PictureAxes(Axes):
    """Axes whose figure is shown where a cell of a notebook ends with them."""

    def _repr_png_(self) -> bytes:
        return png(root_of(self))


def picture(size: tuple[float, float], **more: Any) -> Picture:
    """A new figure of this size ``(width, height)`` in inches, which pyplot does not know."""
    return Picture(figsize=size, **more)
