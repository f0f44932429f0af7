"""Plots of measures: over trials for all agents or one, and over agents for all schemes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from activebmr import checks
from activebmr.arrays import standard_error
from activebmr.plots.pick import Adoption, adoption, index, label_of, per_agent, per_trial
from activebmr.plots.style import PALETTE, axes_of, colour, legend_below, many, number, tidy, title, whole_numbers
from activebmr.simulation.result import Result

__all__ = ["histogram", "mark_adoption", "paired_scatter", "series", "trajectories", "trial_axis", "wins_and_losses"]

MOST_LINES = 256
"""Agents that `trajectories` draws at most; of more it draws evenly chosen ones (and averages over all)."""


def _mean(values: NDArray[Any]) -> str:
    """Mean and standard error in words, the mean alone for one value."""
    error = standard_error(values)
    return number(values.mean(), ".1f") + ("" if np.isnan(error) else f" ± {error:.1f}")


@checks.checked(result=checks.an(Result), measure=checks.text, cumulative=checks.flag, ax=checks.optional(checks.an(Axes)))
def trajectories(
    result: Result,
    measure: str = "net_wins",
    scheme: str | int = 0,
    *,
    cumulative: bool = False,
    highlight: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A measure over trials: a thin line for every agent and a bold one for their mean.

    Log odds become infinite when an agent is certain: lines end there, and the bold one is the median.

    Args:
        result: from `simulate`.
        measure: one with a value per trial, or ``net_wins`` (wins - losses).
        scheme: name or position.
        cumulative: whether to add up over trials.
        highlight: agents to draw in another colour ``(n_agents,)``, true or false.
        ax: where to draw.

    Example:
        >>> ax = trajectories(result, "net_wins", cumulative=True)
    """
    values = per_trial(result, measure, scheme)
    s, trials = result.index(scheme), np.arange(1, values.shape[1] + 1)
    values = values.cumsum(axis=1) if cumulative else values
    marked = np.zeros(len(values), dtype=bool) if highlight is None else np.asarray(highlight, dtype=bool)
    if marked.shape != (len(values),):
        raise ValueError(f"highlight must have shape ({len(values)},), one entry per agent; got {marked.shape}")
    alone, ax = ax is None, axes_of(ax)
    shown = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_LINES)).astype(int))
    main, other = colour(s), PALETTE["black"]
    strength = float(np.clip(8 / len(shown), 0.12, 0.6))
    lines = [np.column_stack([trials, _finite(values[k])]) for k in shown]
    colours = [to_rgba(other, 0.75) if marked[k] else to_rgba(main, strength) for k in shown]
    ax.add_collection(LineCollection(lines, colors=colours, linewidths=0.8))
    certain = bool(np.isinf(values).any())
    middle = np.median(values, axis=0) if certain else values.mean(axis=0)
    middle = _finite(middle)
    dot = {"marker": "o", "markersize": 5} if len(trials) == 1 else {}
    words = ("median" if certain else "mean") + f" of {many(len(values), 'agent')}"
    ax.plot(trials, middle, color=main, linewidth=2.4, solid_capstyle="round", label=words, **dot)
    ax.autoscale_view()
    trial_axis(ax, len(trials))
    ax.set_ylabel(("cumulative " if cumulative else "") + label_of(measure, result))
    if certain:
        end = f"infinite in {many(int(np.isinf(values[:, -1]).sum()), 'agent')}"
    else:
        end = _mean(values[:, -1])
    title(ax, f"{result.schemes[s]}: {end} at the end")
    tidy(ax)
    if alone:
        thin = [(to_rgba(main, max(strength, 0.3)), "an agent")] + [(to_rgba(other, 0.75), "marked")] * bool(marked.any())
        _legend(ax, [*ax.lines, *(Line2D([], [], color=c, linewidth=0.8, label=w) for c, w in thin)])
    return ax


def _legend(ax: Axes, handles: Sequence[Artist] | None = None) -> None:
    """A legend below, beside which the axis is named."""
    if legend_below(ax, handles):
        ax.set_xlabel(ax.get_xlabel(), loc="right")


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    """Gaps where values are infinite."""
    return np.where(np.isfinite(values), values, np.nan)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def trial_axis(ax: Axes, n_trials: int) -> None:
    ax.set_xlim(0.5, n_trials + 0.5)
    whole_numbers(ax.xaxis)
    ax.set_xlabel("trial")


def mark_adoption(ax: Axes, result: Result, scheme: int, agent: int) -> Adoption | None:
    """A line where the agent adopted the hypothesis that it holds: dashed and black if that was an insight, dotted if not."""
    adopted = adoption(result, scheme, agent)
    if adopted is not None:
        paint, dashes = ("black", (0, (4, 2))) if adopted.right else ("vermilion", (0, (1, 1.5)))
        word = "insight" if adopted.right else "adopts a wrong one" if adopted.right is False else "adopts one"
        ax.axvline(
            adopted.trial + 0.5,
            color=PALETTE[paint],
            linewidth=0.9 if adopted.right else 1.3,
            linestyle=dashes,
            zorder=1,
            label=word,
        )
    return adopted


@checks.checked(result=checks.an(Result), measure=checks.text, ax=checks.optional(checks.an(Axes)))
def series(
    result: Result, measure: str = "confidence", scheme: str | int = 0, agent: int = 0, *, ax: Axes | None = None
) -> Axes:
    """A measure of one agent over trials. A dashed line marks its insight, the end of the trial when it adopted the true
    hypothesis; a dotted one marks that it adopted a wrong one.

    Args:
        result: from `simulate`.
        measure: one with a value per trial, or ``net_wins`` (wins - losses).
        scheme: name or position.
        agent: its position, from 0.
        ax: where to draw.

    Raises:
        ValueError: if one of them is not there.

    Example:
        >>> ax = series(result, "confidence", agent=1)
    """
    values = per_trial(result, measure, scheme)
    s, a = result.index(scheme), index("agent", agent, result.sizes["agent"])
    row, trials = values[a], np.arange(1, values.shape[1] + 1)
    row = _finite(row)
    alone, ax = ax is None, axes_of(ax)
    ax.plot(trials, row, color=colour(s), linewidth=1.4, marker="o", markersize=2.8)
    adopted = mark_adoption(ax, result, s, a)
    trial_axis(ax, len(trials))
    ax.set_ylabel(label_of(measure, result))
    name = _sentence(label_of(measure, result).split(" (")[0])
    if adopted is not None and adopted.trial < len(trials) and np.isfinite(row).all():
        before, after = number(row[: adopted.trial].mean()), number(row[adopted.trial :].mean())
        title(ax, f"{name}: {before} a trial until {adopted.until}, {after} afterwards")
    elif np.isfinite(row).any():
        title(ax, f"{name}: {number(np.nanmean(row))} a trial on average")
    tidy(ax)
    if alone:
        _legend(ax)
    return ax


@checks.checked(result=checks.an(Result), ax=checks.optional(checks.an(Axes)))
def wins_and_losses(result: Result, scheme: str | int = 0, agent: int = 0, *, ax: Axes | None = None) -> Axes:
    """Wins (up) and losses (down) of one agent (its position, from 0) in every trial. A dashed line marks its insight, a dotted
    one that it adopted a wrong hypothesis.

    Example:
        >>> ax = wins_and_losses(result, agent=1)
    """
    s, a = result.index(scheme), index("agent", agent, result.sizes["agent"])
    wins, losses = result["wins"][s, a], result["losses"][s, a]
    trials = np.arange(1, len(wins) + 1)
    alone, ax = ax is None, axes_of(ax)
    ax.bar(trials, wins, color=PALETTE["blue"], width=0.75, label="wins")
    ax.bar(trials, -losses, color=PALETTE["vermilion"], width=0.75, label="losses")
    ax.axhline(0, color="#555555", linewidth=0.7)
    adopted = mark_adoption(ax, result, s, a)
    most = max(1, int(wins.max()), int(losses.max()))
    ax.set_ylim(-1.1 * max(1, losses.max()), 1.1 * most)
    whole_numbers(ax.yaxis, 6)
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    trial_axis(ax, len(wins))
    ax.set_ylabel("losses | wins")
    count = lambda part: f"{many(wins[part].sum(), 'win')} and {many(losses[part].sum(), 'loss', 'losses')}"  # noqa: E731
    total = count(slice(None))
    if adopted is not None and adopted.trial < len(wins):
        total = f"{count(slice(adopted.trial))} until {adopted.until}, {count(slice(adopted.trial, None))} afterwards"
    title(ax, total)
    tidy(ax)
    if alone:
        _legend(ax)
    return ax


@checks.checked(result=checks.an(Result), measure=checks.text, ax=checks.optional(checks.an(Axes)))
def histogram(
    result: Result,
    measure: str = "score",
    schemes: Sequence[str | int] | None = None,
    *,
    bins: int = 24,
    ax: Axes | None = None,
) -> Axes:
    """How a measure is spread over agents: one row of bars per scheme; the dot below and the words are mean and standard error.

    Args:
        result: from `simulate`.
        measure: one with a value per agent: ``score``, ``discovery_trials``, ``adoption_trial`` or one of the paradigm's own.
        schemes: names or positions; by default all, in the result's order.
        bins: number of bins, the same for all rows.
        ax: where to draw.

    Example:
        >>> ax = histogram(result, "score", bins=12)
    """
    chosen = [
        result.index(s) for s in (range(result.sizes["scheme"]) if schemes is None else checks.sequence(schemes, "schemes"))
    ]
    rows = [per_agent(result, measure, s) for s in chosen]
    if not chosen:
        raise ValueError("schemes must name at least one scheme; got none")
    if not checks.is_whole(bins) or bins < 1:
        raise ValueError(f"bins must be a whole number >= 1; got {bins}")
    rows = [r[np.isfinite(r)] for r in rows]
    ax = axes_of(ax, height=1.4 + 0.6 * len(chosen))
    edges = _edges(np.concatenate(rows), bins)
    for y, (s, row) in enumerate(zip(chosen, rows, strict=True)):
        counts, _ = np.histogram(row, edges)
        heights = 0.8 * counts / max(1, counts.max())
        ax.bar(edges[:-1], -heights, np.diff(edges), y, align="edge", color=colour(s), alpha=0.55, linewidth=0)
        ax.axhline(y, color="#555555", linewidth=0.6)
        if len(row):
            error = standard_error(row)
            ax.text(
                1.02, y - 0.04, _mean(row), transform=ax.get_yaxis_transform(), va="bottom", color=colour(s), fontsize="small"
            )
            ax.errorbar(
                row.mean(),
                y + 0.08,
                xerr=0 if np.isnan(error) else error,
                color=colour(s),
                marker="o",
                markersize=4.5,
                capsize=2.5,
            )
    ax.set_yticks(range(len(chosen)), [result.schemes[s] for s in chosen])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(chosen) - 0.75, -0.9)
    ax.set_xlabel(label_of(measure, result))
    if measure != "score":  # trials
        whole_numbers(ax.xaxis, most=6)
    ax.spines["left"].set_visible(False)
    tidy(ax)
    title(ax, _compare(result, measure, chosen, rows))
    return ax


def _edges(values: NDArray[Any], bins: int) -> NDArray[Any]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if low == high:
        low, high = low - 3, high + 3
    if np.array_equal(values, np.rint(values)):  # bins that hold equally many whole numbers
        width = max(1, int(np.ceil((high - low + 1) / bins)))
        return np.arange(low - 0.5, high + 0.5 + width, width)
    return np.linspace(low, high, bins + 1)


def _compare(result: Result, measure: str, chosen: Sequence[int], rows: Sequence[NDArray[Any]]) -> str:
    name = label_of(measure, result).split(" (")[0]
    known = [(row.mean(), result.schemes[s], row) for s, row in zip(chosen, rows, strict=True) if len(row)]
    if not known:
        return f"{_sentence(name)}: no agent has any"
    low, high = min(known, key=lambda k: k[0]), max(known, key=lambda k: k[0])
    if len(known) == 1:
        return (
            f"{_sentence(name)} {_mean(low[2])} ({len(low[2])} agents)"
            if len(low[2]) > 1
            else f"{_sentence(name)} {_mean(low[2])}"
        )
    return f"Mean {name}: from {number(low[0], '.1f')} ({low[1]}) to {number(high[0], '.1f')} ({high[1]})"


@checks.checked(result=checks.an(Result), measure=checks.text, ax=checks.optional(checks.an(Axes)))
def paired_scatter(
    result: Result,
    measure: str = "score",
    scheme_a: str | int = 0,
    scheme_b: str | int = 1,
    *,
    ax: Axes | None = None,
) -> Axes:
    """A measure under two schemes, one dot per agent: agent k lived through the same random numbers under both.

    Agents without a value under one of the schemes (of the trial of adoption: who adopted nothing) are left out.

    Example:
        >>> both = ab.simulate([three_ball.paradigm(scheme) for scheme in ("reasoning", "paper")], n_agents=4, n_trials=3)
        >>> ax = paired_scatter(both, "score", "reasoning", "paper")
    """
    x, y = per_agent(result, measure, scheme_a), per_agent(result, measure, scheme_b)
    a, b = result.schemes[result.index(scheme_a)], result.schemes[result.index(scheme_b)]
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    ax = axes_of(ax, 4.0, 3.8)
    if len(x):
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        pad = 0.05 * (high - low) or 1.0
        ax.plot([low - pad, high + pad], [low - pad, high + pad], color="#999999", linewidth=0.9, zorder=1)
        ax.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad))
    ax.scatter(x, y, s=20, color=colour(result.index(scheme_b)), alpha=0.6, linewidths=0)
    ax.set_aspect("equal", adjustable="box")
    name = label_of(measure, result)
    ax.set(xlabel=f"{name}, {a}", ylabel=f"{name}, {b}")
    gap, names = (y - x, (b, a)) if (y - x).sum() > 0 else (x - y, (a, b))
    words = (
        f"{_sentence(name.split(' (')[0])}: {names[0]} has {_mean(gap)} more than {names[1]}"
        if len(gap)
        else "No agent has both"
    )
    title(ax, f"{words}, and more in {(gap > 0).sum()} of {len(gap)} agents" if len(gap) > 1 else words)
    tidy(ax)
    return ax
