"""Plots of what agents believe about hypotheses: of one agent, rule by rule, or of all agents about the truth."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from numpy.typing import NDArray

from activebmr import checks
from activebmr.plots.measures import mark_adoption, trial_axis
from activebmr.plots.pick import adoption, index, truth_of, whose, window_of
from activebmr.plots.style import (
    PALETTE,
    SHADES,
    axes_of,
    colour,
    legend_below,
    number,
    shade_bar,
    short,
    tidy,
    title,
    whole_numbers,
)
from activebmr.simulation.result import Result

__all__ = ["insight", "log_odds", "model_posterior"]

_NAMED = 12  # so many hypotheses can have their names written beside their rows


def _posterior(result: Result, scheme: str | int) -> NDArray[np.float64]:
    s = result.index(scheme)
    values = result["model_posterior"][s]
    if values.size == 0 or np.isnan(values).all():
        raise ValueError(f"scheme must be one whose agents have hypotheses; {result.schemes[s]!r} has none")
    return values


@checks.checked(result=checks.an(Result), bar=checks.flag, ax=checks.optional(checks.an(Axes)))
def model_posterior(result: Result, scheme: str | int = 0, agent: int = 0, *, bar: bool = True, ax: Axes | None = None) -> Axes:
    """Posterior over hypotheses (rows) of one agent at the end of every trial (columns); the true one is marked at the right.

    Shades follow the square root of the probability, so that 0.01 can be told from 0.

    Args:
        result: from `simulate`.
        scheme: name or position.
        agent: number of the agent.
        bar: whether to add the scale of the shades.
        ax: where to draw.

    Example:
        >>> ax = model_posterior(result, agent=1)
    """
    s = result.index(scheme)
    values = _posterior(result, s)[index("agent", agent, result.sizes["agent"])]
    n_trials, n_models = values.shape
    alone, ax = ax is None, axes_of(ax, height=3.8)
    box = (0.5, n_trials + 0.5, n_models - 0.5, -0.5)
    image = ax.imshow(
        values.T, cmap=SHADES, norm=PowerNorm(0.5, 0, 1), aspect="auto", interpolation="nearest", extent=box, resample=False
    )
    adopted = mark_adoption(ax, result, s, agent)
    trial_axis(ax, n_trials)
    whole_numbers(ax.yaxis, 6)
    ax.set_ylabel("hypothesis")
    names = [str(m) for m in range(n_models)]
    if n_models <= _NAMED and len(result["model_names"]) == n_models:
        names = [short(str(n)) for n in result["model_names"]]
        ax.set_yticks(range(n_models), names)
    true = truth_of(result, agent)
    best = int(values[-1].argmax())
    share = lambda p: f"{p:.2g}" if p >= 0.005 else "less than 0.01"  # noqa: E731
    ends = f"{share(values[-1, best])} for hypothesis {names[best]}"
    if true is not None:
        ax.annotate(
            "◀ true",
            (1.0, true),
            (2, 0),
            xycoords=ax.get_yaxis_transform(),
            textcoords="offset points",
            va="center_baseline",
            color=PALETTE["vermilion"],
            fontsize="small",
            annotation_clip=False,
        )
        ends = f"{share(values[-1, true])} for the true hypothesis ({names[true]})"
    said = f"Posterior over {n_models} hypotheses ends at {ends}" + (f"; {adopted.sentence}" if adopted else "")
    title(ax, whose(result, s, agent, said))
    if bar:
        shade_bar(ax, image, "probability", [0, 0.01, 0.1, 0.3, 1], pad=0.09)
    if alone and legend_below(ax):
        ax.set_xlabel("trial", loc="right")
    return ax


@checks.checked(
    result=checks.an(Result), threshold=checks.optional(checks.real(checks.ANY_NUMBER)), ax=checks.optional(checks.an(Axes))
)
def log_odds(
    result: Result, scheme: str | int = 0, agent: int = 0, *, threshold: float | None = None, ax: Axes | None = None
) -> Axes:
    """Log odds of the best hypothesis of one agent after every trial, with Occam's window and what the agent adopted.

    Filled dots: the best hypothesis is the true one (or agrees with it everywhere); open dots: it is another one. Triangles
    at the top: the log odds are infinite, no other hypothesis has any probability left.

    Args:
        result: from `simulate`.
        scheme: name or position.
        agent: number of the agent.
        threshold: Occam's window in nats; by default the scheme's own. Not drawn if infinite.
        ax: where to draw.

    Example:
        >>> ax = log_odds(result, agent=1)
    """
    s, a = result.index(scheme), index("agent", agent, result.sizes["agent"])
    _posterior(result, s)
    if threshold is None:
        threshold = window_of(result, s, agent=agent)
    odds, best = result["log_odds"][s, a], result["best_model"][s, a]
    trials, known = np.arange(1, len(odds) + 1), np.isfinite(odds)
    window = threshold if np.isfinite(threshold) else 0.0
    high = max([window, *odds[known]])
    low = min([0.0, *odds[known]])
    top = high + 0.25 * (high - low + 1)
    ax = axes_of(ax)
    ax.plot(trials, np.where(known, odds, np.nan), color=colour(s), linewidth=1.2, zorder=2)
    classes, true = result["model_class"], truth_of(result, a)
    right = np.zeros(len(best), dtype=bool) if true is None or not len(classes) else classes[best] == classes[true]
    for chosen, face, what in (
        (known & right, colour(s), "the true one is best"),
        (known & ~right, "white", "another is best"),
    ):
        ax.scatter(
            trials[chosen], odds[chosen], s=20, facecolors=face, edgecolors=colour(s), linewidths=1.1, zorder=3, label=what
        )
    certain = odds == np.inf
    ax.scatter(
        trials[certain], np.full(certain.sum(), top), s=20, color=colour(s), marker="^", clip_on=False, linewidths=0, zorder=3
    )
    if certain.any():
        ax.annotate("infinite", (trials[certain][-1], top), (3, -5), textcoords="offset points", ha="right", va="top",
                    fontsize="small", color=colour(s))  # fmt: skip
    if np.isfinite(threshold):
        ax.axhline(threshold, color=PALETTE["vermilion"], linewidth=1.1)
        late = adoption(result, s, a) is None or 2 * certain.sum() < len(odds)  # then the room is at the left
        ax.annotate(
            f"Occam's window: {threshold:g} nats",
            (0.0 if late else 1.0, threshold),
            (4 if late else -4, 3),
            ha="left" if late else "right",
            xycoords=ax.get_yaxis_transform(),
            textcoords="offset points",
            color=PALETTE["vermilion"],
            fontsize="small",
        )
    adopted = mark_adoption(ax, result, s, a)
    if true is not None:
        ax.legend(loc="best", handletextpad=0.4, borderaxespad=0.1, labelspacing=0.25, handlelength=1.2)
    ax.set_ylim(low - 0.08 * (high - low + 1), top)
    trial_axis(ax, len(odds))
    ax.set_ylabel("log odds (nats)")
    if adopted is not None:
        which = "the true hypothesis" if adopted.right else "a wrong hypothesis" if adopted.right is False else "hypothesis"
        said = f"Log odds: {which} ({adopted.model}) is adopted after trial {adopted.trial}"
    else:
        said = f"Log odds reach {number(odds.max(), '.1f')} nats: no hypothesis is adopted"
    title(ax, whose(result, s, a, said))
    tidy(ax)
    return ax


@checks.checked(result=checks.an(Result), bar=checks.flag, legend=checks.flag, ax=checks.optional(checks.an(Axes)))
def insight(result: Result, scheme: str | int = 0, *, bar: bool = True, legend: bool = True, ax: Axes | None = None) -> Axes:
    """Posterior of the true hypothesis in all agents: one row per agent, sorted by the trial of
    adoption, and trials as columns.

    Dots mark when an agent adopted the true hypothesis (or one that agrees with it everywhere), crosses when it adopted
    another one.

    Example:
        >>> ax = insight(result, "reasoning")
    """
    s = result.index(scheme)
    _posterior(result, s)
    values, when = result["true_model_posterior"][s], result["adoption_trial"][s]
    order = np.lexsort((np.arange(len(when)), np.where(when < 0, values.shape[1], when)))
    n_agents, n_trials = values.shape
    ax = axes_of(ax, height=3.8)
    box = (0.5, n_trials + 0.5, n_agents - 0.5, -0.5)
    image = ax.imshow(values[order], cmap=SHADES, vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=box)
    size = float(np.clip(500 / n_agents, 3, 22))
    for chosen, marker, paint in ((result.adopted_truth[s], "o", "orange"), (result.adopted_wrong[s], "X", "vermilion")):
        rows = np.flatnonzero(chosen[order])
        edge = "white" if marker == "X" else PALETTE[paint]
        ax.scatter(
            when[order][rows] + 1,
            rows,
            s=size * (2.2 if marker == "X" else 1),
            facecolors=PALETTE[paint],
            marker=marker,
            edgecolors=edge,
            linewidths=0.4,
        )
        if len(rows):  # of none there is nothing to tell
            ax.collections[-1].set_label("adopts the true one" if marker == "o" else "adopts a wrong one")
    if legend:
        legend_below(ax)
    trial_axis(ax, n_trials)
    ax.set_xlabel("trial", loc="right")  # beside the legend
    ax.set_yticks([])
    ax.set_ylabel(f"{n_agents} agents, sorted by adoption" if n_agents > 1 else "1 agent")
    found, wrong = result.adopted_truth[s].sum(), result.adopted_wrong[s].sum()
    words = f"{result.schemes[s]}: {found} of {n_agents} adopt the true hypothesis"
    title(ax, words + (f", {wrong} a wrong one" if wrong else ""))
    if bar:
        shade_bar(ax, image, "posterior of the truth", [0, 0.5, 1])
    return ax
