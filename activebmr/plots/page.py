"""Pages: figures with a heading, on which axes are placed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from activebmr.plots.style import wrap

__all__ = ["WIDTH", "Page", "save"]

WIDTH = 9.0  # inches


class Page:
    """A figure with a heading, below which axes are placed in inches from the left and from the top."""

    def __init__(self, height: float, head: str, below: str) -> None:
        points = (WIDTH - 0.3) * 72
        first, second = wrap(head, points, 11.5, "bold"), wrap(below, points, 8.5)
        middle = 0.12 + 0.21 * (first.count("\n") + 1)
        self.start = middle + 0.15 * (second.count("\n") + 1) + 0.14
        self.height = self.start + height
        self.figure = Figure(figsize=(WIDTH, self.height))
        place = {"ha": "left", "va": "top", "linespacing": 1.25, "parse_math": False}
        self.figure.text(0.15 / WIDTH, 1 - 0.12 / self.height, first, fontsize=11.5, fontweight="bold", **place)
        self.figure.text(0.15 / WIDTH, 1 - middle / self.height, second, fontsize=8.5, color="#444444", **place)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = 1 - (self.start + top + height) / self.height
        return self.figure.add_axes((left / WIDTH, bottom, width / WIDTH, height / self.height))

    def scale(self, ax: Axes, left: float, top: float, height: float, label: str, ticks: Sequence[float] = (0, 0.5, 1)) -> None:
        """The scale of the shades of some axes."""
        bar = self.figure.colorbar(ax.images[0], cax=self.axes(left, top, 0.11, height), ticks=list(ticks))
        bar.ax.set_yticklabels([f"{t:g}" for t in ticks])
        bar.set_label(label)
        bar.outline.set_linewidth(0.5)
        bar.ax.tick_params(length=2)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as a PNG of a modest size."""
    figure.savefig(path, dpi=125, pil_kwargs={"optimize": True})
    return Path(path)
