"""What an agent thinks of its hypotheses within a trial: the likeliest ones by name, and the log odds of the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from numpy.typing import NDArray

from activebmr.plots.style import PALETTE, SHADES, axes_of, legend_below, number, tidy, time_axis, title, whole_numbers, wrap
from activebmr.reduction.evidence import log_odds as log_odds_of

__all__ = ["POINTS", "draw_hypotheses", "draw_odds", "likeliest", "row_height"]

POINTS = 190.0
"""Room for the names of hypotheses."""

_LINES, _SIZE = 3, 7.0


def likeliest(belief: NDArray[np.float64], truth: int | None, most: int) -> list[int]:
    """Hypotheses to name: the likeliest in the end (or at any time before, if they are alike), and the true one."""
    order = np.lexsort((np.arange(belief.shape[1]), -belief.max(axis=0), -belief[-1].round(9)))
    kept = [int(k) for k in order[:most]]
    if truth is not None and truth not in kept:
        kept[-1:] = [truth]
    return kept


def draw_hypotheses(
    belief: NDArray[np.float64],
    names: Sequence[str],
    truth: int | None,
    *,
    most: int = 8,
    points: float = POINTS,
    ax: Axes | None = None,
) -> Axes:
    """Probabilities of hypotheses (rows) at every time ``(time, model)``: the likeliest by name, all others together below.

    Args:
        belief: posterior at every time.
        names: what each hypothesis says; numbers where there are none.
        truth: index of the true one, which is marked; None if it is unknown.
        most: rows, at most, without that of all others.
        points: room for the names.
        ax: where to draw.
    """
    n_times, n = belief.shape
    kept = likeliest(belief, truth, most)
    rest = np.setdiff1d(np.arange(n), kept)
    values = belief[:, kept]
    words = [f"{k}: {names[k]}" if len(names) == n else f"hypothesis {k}" for k in kept]
    if len(rest):
        values = np.column_stack([values, belief[:, rest].sum(axis=1)])
        words.append(f"the other {len(rest)} together" if len(rest) > 1 else f"{rest[0]}, the other one")
    ax = axes_of(ax, 7.0, 1.2 + 0.26 * len(words))
    box = (0.5, n_times + 0.5, len(words) - 0.5, -0.5)
    norm = PowerNorm(0.5, 0, 1)
    ax.imshow(values.T, cmap=SHADES, norm=norm, aspect="auto", interpolation="nearest", extent=box)
    ax.set_yticks(range(len(words)), [_lines(w, points) for w in words], fontsize=_SIZE)
    for label in ax.get_yticklabels():
        label.set_parse_math(False)
    ax.tick_params(length=0)
    ax.spines[:].set_color("#BBBBBB")
    ax.hlines(np.arange(0.5, len(words) - 1), 0.5, n_times + 0.5, color="white", linewidth=0.8)
    ax.vlines(np.arange(1.5, n_times), -0.5, len(words) - 0.5, color="white", linewidth=2 if n_times <= 12 else 0.6)
    if n_times <= 12:
        for t, k in np.argwhere(values >= 0.005):
            ink = "white" if norm(values[t, k]) > 0.6 else PALETTE["black"]
            ax.text(t + 1, k, f"{values[t, k]:.2f}", ha="center", va="center_baseline", fontsize="x-small", color=ink)
    if truth is not None:
        ax.annotate("◀ true", (1.0, kept.index(truth)), (2, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
                    va="center_baseline", color=PALETTE["vermilion"], fontsize="small", annotation_clip=False)  # fmt: skip
    time_axis(ax, n_times)
    ax.set_ylabel("hypothesis")
    left = np.exp(-(belief * np.log(np.maximum(belief, 1e-300))).sum(axis=1))
    title(ax, f"Belief over {n} hypotheses: as doubtful as among {_count(left[0])} at first, {_count(left[-1])} in the end")
    return ax


def _lines(text: str, points: float) -> str:
    lines = wrap(text, points, _SIZE).split("\n")
    return "\n".join(lines[:_LINES]) + ("…" if len(lines) > _LINES else "")


def row_height(names: Sequence[str], points: float = POINTS) -> float:
    """Inches that a row of `draw_hypotheses` needs for names of these lengths."""
    most = max((_lines(f"{k}: {name}", points).count("\n") + 1 for k, name in enumerate(names)), default=1)
    return 0.07 + 0.13 * most


def _count(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 or abs(value - round(value)) < 0.05 else f"{value:.1f}"


def draw_odds(
    belief: NDArray[np.float64],
    classes: NDArray[np.intp] | None,
    truth: int | None,
    window: float,
    *,
    room: float = 0.62,
    ax: Axes | None = None,
) -> Axes:
    """Log odds of the best hypothesis at every time, beside Occam's window: filled dots where it is the true one.

    Args:
        belief: posterior at every time ``(time, model)``.
        classes: hypotheses with the same number agree everywhere and count as one; None: each is its own.
        truth: index of the true one; None if it is unknown.
        window: nats; not drawn if infinite.
        room: that of the legend, see `legend_below`.
        ax: where to draw.
    """
    together = np.arange(belief.shape[1]) if classes is None or len(classes) != belief.shape[1] else np.asarray(classes)
    held = np.zeros((len(belief), int(together.max()) + 1))
    np.add.at(held.T, together, belief.T)
    odds = np.asarray(log_odds_of(held)) if held.shape[1] > 1 else np.full(len(held), np.inf)
    best, known = held.argmax(axis=1), np.isfinite(odds)
    times = np.arange(1, len(odds) + 1)
    edge = window if np.isfinite(window) else 0.0
    low, high = min([0.0, *odds[known]]), max([edge, 1.0, *odds[known]])
    top = high + 0.2 * (high - low)
    ax = axes_of(ax, 7.0, 1.9)
    paint = PALETTE["blue"]
    ax.plot(times, np.where(known, odds, np.nan), color=paint, linewidth=1.2)
    right = np.zeros(len(best), dtype=bool) if truth is None else best == together[truth]
    groups = [(known & right, paint, "the true one is best"), (known & ~right, "white", "another is best")]
    if truth is None:
        groups = [(known, paint, "the best one")]
    for chosen, face, words in groups:
        if chosen.any():
            ax.scatter(
                times[chosen], odds[chosen], s=20, facecolors=face, edgecolors=paint, linewidths=1.1, zorder=3, label=words
            )
    if (~known).any():
        ax.scatter(times[~known], np.full((~known).sum(), top), s=20, color=paint, marker="^", clip_on=False, linewidths=0,
                   zorder=3, label="infinite: no other is possible")  # fmt: skip
    if np.isfinite(window):
        ax.axhline(window, color=PALETTE["vermilion"], linewidth=1.1, label=f"Occam's window: {window:g} nats")
    ax.set_ylim(low - 0.08 * (high - low), top)
    time_axis(ax, len(odds))
    ax.set_xlabel("time", loc="right")
    whole_numbers(ax.yaxis, 4)
    ax.set_ylabel("log odds (nats)")
    legend_below(ax, room=room)
    end = "are infinite" if not known[-1] else f"are {number(float(odds[-1]), '.1f')} nats"
    beyond = np.flatnonzero(odds > window)
    more = f", beyond Occam's window from time {beyond[0] + 1}" if len(beyond) and (odds[beyond[0] :] > window).all() else ""
    title(ax, f"Log odds of the best hypothesis {end} in the end{more}")
    tidy(ax)
    return ax
