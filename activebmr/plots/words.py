"""Words that fit: texts broken into lines by measuring them, also titles whose room is known only when they are drawn."""

from __future__ import annotations

from functools import lru_cache

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from activebmr import checks

__all__ = ["Fitted", "fit", "root_of", "settle", "width_of", "wrap"]


def root_of(artist: Artist) -> Figure:
    """The whole figure that something is part of, also where that is a figure within a figure."""
    return artist.figure.canvas.figure  # type: ignore[union-attr]


@lru_cache(maxsize=4096)
def width_of(text: str, size: float, weight: str | float) -> float:
    """Points that a line of text is wide when set in type of this size."""
    font = FontProperties(size=100, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0]) * size / 100


@checks.checked(text=checks.text, points=checks.real(checks.POSITIVE), size=checks.real(checks.POSITIVE))
def wrap(text: str, points: float, size: float, weight: str | float = "normal") -> str:
    """Break a text into lines that are no wider than so many points when set in type of this size.

    Lines are broken between words; a word that is too long for a line of its own is broken within.

    Example:
        >>> print(wrap("words that fit", points=40, size=8.5))
        words
        that fit
    """
    room = 0.97 * points  # on screen, letters are set a little wider
    lines = [""]
    for word in text.split():
        for k, part in enumerate(_parts(word, 0.95 * room, size, weight)):  # (a single letter may be set much wider)
            longer = f"{lines[-1]} {part}".strip()
            if k or (lines[-1] and width_of(longer, size, weight) > room):
                lines.append(part)
            else:
                lines[-1] = longer
    return "\n".join(lines)


def _parts(word: str, room: float, size: float, weight: str | float) -> list[str]:
    """A word, cut into pieces that fit; every piece has a letter at least."""
    parts = []
    while len(word) > 1 and width_of(word, size, weight) > room:
        low, high = 1, len(word) - 1  # the longest beginning that fits
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if width_of(word[:middle], size, weight) <= room else (low, middle - 1)
        parts.append(word[:low])
        word = word[low:]
    return [*parts, word]


class Fitted(Text):
    """Words that are broken into lines whenever they are drawn: no wider than their axes, or than what is left of the figure.

    What the axes leave for the words is known only then: layouts make room for names beside them, windows change their size.
    """

    narrowest: float | None = None
    """Points of the narrowest line since `settle` began; None: as wide as there is room at the moment."""
    settling = False

    def _get_wrapped_text(self) -> str:
        figure = root_of(self)
        left = float(self.get_transform().transform(self.get_position())[0])
        right = figure.bbox.x1 - 0.02 * figure.dpi
        if self.axes is not None:
            right = min(right, max(self.axes.bbox.x1, left + figure.dpi))  # an inch at least, if the figure has it
        points = max(right - left, 1.0) / figure.dpi * 72
        if self.settling or self.narrowest is not None:
            points = min(points, self.narrowest or points)
        if self.settling:
            self.narrowest = points
        size, weight = self.get_fontsize(), self.get_fontweight()
        return "\n".join(wrap(line, points, size, weight) for line in self.get_text().split("\n"))


def settle(figure: Figure) -> None:
    """Lay a figure out until the lines of its fitted words stay as they are.

    A layout tries several places for axes. Words that are broken in one place as they are not in the next would have more lines
    than there is height for, so that from now on they stay as narrow as they had to be.
    """
    engine = figure.get_layout_engine()
    if engine is None:
        return
    words = [t for t in figure.findobj(Fitted) if t.get_text()]
    for text in words:
        text.narrowest = None
    engine.execute(figure)  # from where axes happen to be
    for text in words:
        text.settling = True
    try:
        engine.execute(figure)
    finally:
        for text in words:
            text.settling = False


def fit(text: Text) -> Text:
    """Let a left-aligned text that is a title or stands in a figure be broken into lines that fit, see `title`."""
    text.set_wrap(True)  # so that it is broken at the figure's edge, should matplotlib not ask `Fitted` any more
    text.set_parse_math(False)
    text.__class__ = Fitted
    return text
