"""Figures of the T-maze: when its structure is known, what is gained from then on, and when the cue is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from activebmr import Result, plots
from activebmr.arrays import standard_error
from activebmr.paradigms.t_maze.floors import best_possible, floor, observer
from activebmr.paradigms.t_maze.going import STRIP, asked, named, three_lives, tidy
from activebmr.paradigms.t_maze.lives import lives
from activebmr.paradigms.t_maze.measures import after, ever_wrong, known_after, posterior_of_truth, scores
from activebmr.paradigms.t_maze.reading import kind_of, structures_of
from activebmr.paradigms.t_maze.world import CUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figures", "overview"]

INK = plots.PALETTE["black"]
SCHEME = {
    "reasoning": "blue",
    "clairvoyant": "sky",
    "gain": "vermilion",
    "no-model": "green",
    "random": "purple",
    "preferences": "orange",
    "utility": "grey",
    "knowing": "black",
}
_LIVED = 64  # agents that live again to show where they go


def _seeking(result: Result) -> list[int]:
    """Schemes whose agents hold several structures possible."""
    return [s for s in range(len(result.schemes)) if np.isfinite(result.true_model_posterior[s]).any()]


def _line(ax: Axes, x: NDArray[np.float64], values: NDArray[np.float64], paint: str, width: float = 1.5) -> float:
    """Mean over agents ``(agents, n)`` and two standard errors to both sides; the last mean."""
    mean, error = values.mean(axis=0), np.array([standard_error(v) for v in values.T])
    colour = plots.PALETTE[paint]
    ax.plot(x, mean, color=colour, linewidth=width)
    ax.fill_between(x, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.2, linewidth=0)
    return float(mean[-1])


# --- what is known, and gained -------------------------------------------------------------------------------------------
def _posterior(ax: Axes, result: Result) -> None:
    held, n = posterior_of_truth(result), result.sizes["trial"]
    x, ends = np.arange(1, n + 1), []
    for s in _seeking(result):
        name, paint = result.schemes[s], SCHEME.get(result.schemes[s], "black")
        words = f"{name} {result.adopted_truth[s].mean():.0%}"
        ends.append((_line(ax, x, held[s], paint, 2.2 if s == 0 else 1.3), words, paint))
    ax.set(xlim=(0, n), ylim=(0, 1.02), xlabel="session", ylabel="posterior of the true structure")
    bound = floor(result)
    if bound < n:
        ax.axvline(bound, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
        ax.text(bound + 0.01 * n, 0.02, f"nobody sure\nbefore {bound:.0f}\non average", fontsize=7.5, va="bottom")
    named(ax, ends)
    tidy(ax)


def _gained(ax: Axes, result: Result, told: Result | None, block: int) -> None:
    """Score of a session over blocks of them."""
    n, ends = result.sizes["trial"], []
    whole = n // block
    x = (np.arange(whole) + 0.5) * block

    def blocks(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values[:, : whole * block].reshape(len(values), whole, block).mean(axis=2))

    best = best_possible(result).mean()
    ax.axhline(best, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
    if told is not None:
        ends.append((_line(ax, x, blocks(scores(told)[0]), "black", 2.4), "knowing", "black"))
    for s, each in enumerate(scores(result)):
        name = result.schemes[s]
        ends.append((_line(ax, x, blocks(each), SCHEME.get(name, "black"), 1.5), name, SCHEME.get(name, "black")))
    ax.set(xlim=(0, n), xlabel="session", ylabel="score of a session")
    ax.text(n, 1.17 * best, "dashed: the best that can be expected (exact)", ha="right", va="top", fontsize=7.5)
    ax.set_ylim(min(0.0, ax.get_ylim()[0]), 1.18 * best)
    named(ax, ends)
    tidy(ax)


# --- all of it -----------------------------------------------------------------------------------------------------------
def _story(result: Result, told: Result | None) -> tuple[str, str]:
    s, n = _seeking(result)[0] if _seeking(result) else 0, result.sizes["agent"]
    right, wrong, when = result.adopted_truth[s], int(ever_wrong(result)[s].sum()), known_after(result)[s]
    error = standard_error(when)
    often = f"{when.mean():.1f}" + ("" if np.isnan(error) else f" ± {error:.1f}")
    head = f"{right.sum()} of {n} agents find what cue and context of a T-maze are up to, after {often} sessions"
    head += "; none is ever wrong" if wrong == 0 else f"; {wrong} are wrong at some time"
    if told is not None and right.any():
        mine, theirs = after(result)[s], after(result, told)[s]
        gap = 100 * (np.nanmean(mine) / np.nanmean(theirs) - 1) if np.isfinite(mine).any() else np.nan
        if abs(gap) < 0.005:
            head += ", and from then on they score as if they had always known"
        elif np.isfinite(gap):
            head += f", and from then on they score {abs(gap):.2f} % {'more' if gap > 0 else 'less'} than who always knew"
    seen = observer(result)
    below = (
        f"30 structures: what the light means and how reliably, whether the context stays for a session, how sessions begin. "
        f"Scheme {result.schemes[s]}; an observer who sees everything needs {seen.mean():.1f} ± {standard_error(seen):.1f} "
        f"sessions, and on average nobody could need fewer than {floor(result):.1f}. Bands: two standard errors."
    )
    return head, below


def overview(
    result: Result, told: Result | None = None, lived: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None
) -> Figure:
    """What is known and gained over sessions, when the cue is asked, and the lives of three agents.

    Args:
        result: from `simulate`; its first scheme is the one that is told of.
        told: of the same agents, had they known (`paradigms.t_maze.knowing`).
        lived: by scheme where agents were and what they found there, as `lives.lives` returns it, of the first agents;
            without it some of them live again.
    """
    if lived is None:
        shown = [name for name in (result.schemes[0], "preferences") if name in result.schemes and name != "knowing"]
        known = [name for name in shown if name in SCHEME or result.trace]
        lived = {name: lives(result, name, _LIVED) for name in dict.fromkeys(known)}
    tall, low, left, width, gap = 2.35, 1.9, 0.6, 3.15, 1.25
    right, second = left + width + gap, 0.4 + tall + 0.95
    third = second + low + 0.95
    page = plots.Page(third + 3 * STRIP + 0.1 if lived else 0.3 + tall + 0.5, *_story(result, told))
    ax = page.axes(left, 0.4, width, tall)
    _posterior(ax, result)
    plots.title(
        ax, "What is believed: the gain must be expected over three moves" if "gain" in result.schemes else "What is believed"
    )
    ax = page.axes(right, 0.4, width, tall)
    _gained(ax, result, told, max(1, result.sizes["trial"] // 24))
    plots.title(ax, "What is gained")
    kinds = np.array([kind_of(s) for s in structures_of(result)])
    for k, (name, (places, _)) in enumerate(lived.items()):
        ax, s, n = page.axes((left, left + width + 0.45)[k], second, (width, 2.85)[k], low), result.index(name), len(places)
        adopts = result.adopted_model[s, :n] >= 0
        origin = None if k else np.where(adopts, known_after(result)[s, :n], result.sizes["trial"])
        asked(ax, (places == CUE).sum(axis=2), kinds[:n], origin)
        ax.set_xlabel("session" if origin is None else "sessions since the structure was adopted")
        ax.set_ylabel("looks at the cue" if k == 0 else "")
        plots.title(ax, _ASKED.get(name, f"When the cue is asked ({name})"))
    three_lives(page, result, lived, third)
    return page.figure


_ASKED = {
    "reasoning": "reasoning: the cue is asked until all is known, then only where it helps",
    "preferences": "preferences: rewards count from the start, and the cue is asked as long as its answer may pay",
}


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw ``t_maze.png``, see `overview`, into a folder, which is made if it is not there; returns the files written."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with plots.style():
        return [plots.save(overview(result), folder / "t_maze.png")]
