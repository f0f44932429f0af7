"""Plots of what is believed within a trial, step by step, and of likelihoods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from activebmr import checks
from activebmr.model.pomdp import POMDP
from activebmr.plots.names import Names, distinct, names_of
from activebmr.plots.pick import Source, index, of_source, one_trial
from activebmr.plots.style import (
    PALETTE,
    SHADES,
    axes_of,
    legend_below,
    shade_bar,
    short,
    tidy,
    time_axis,
    title,
    whole_numbers,
)

__all__ = ["beliefs", "confidence", "doubt", "draw_beliefs", "draw_policies", "key_below", "likelihood", "outcomes", "policies"]

_CERTAIN = 0.95
RING = {"s": 26, "facecolors": "none", "edgecolors": PALETTE["orange"], "linewidths": 1.6}
_ROWS = 16  # so many states can have their names beside their rows


def _shades(ax: Axes, values: NDArray[Any], names: Sequence[str] | None) -> Any:
    """Probabilities (rows, times) as shades, with times counted from 1 and thin white lines between the cells. Rows that are
    too many for names of their own (None) have numbers.
    """
    n_rows, n_times = values.shape
    box = (0.5, n_times + 0.5, n_rows - 0.5, -0.5)
    image = ax.imshow(values, cmap=SHADES, vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=box)
    if names is None:
        whole_numbers(ax.yaxis, 6)
    else:
        ax.set_yticks(range(n_rows), names)
        ax.hlines(np.arange(0.5, n_rows - 1), 0.5, n_times + 0.5, color="white", linewidth=0.8)
    time_axis(ax, n_times)
    ax.vlines(np.arange(1.5, n_times), -0.5, n_rows - 0.5, color="white", linewidth=2 if n_times <= 12 else 0.6)
    ax.spines[:].set_color("#BBBBBB")
    ax.tick_params(length=0)
    return image


def key_below(ax: Axes, ring: str, room: float = 0.62) -> None:
    """What shades and rings say, in a row below the axes; ``ring`` is empty where there are none."""
    shade = lambda value: ax.images[0].cmap(ax.images[0].norm(value))  # noqa: E731
    square = {"marker": "s", "linestyle": "", "markersize": 7, "markeredgecolor": "#BBBBBB", "markeredgewidth": 0.6}
    handles = [Line2D([], [], markerfacecolor=shade(v), label=f"probability {v:g}", **square) for v in (0, 0.5, 1)]
    if ring:
        circle = {"marker": "o", "linestyle": "", "markersize": 5.5, "markerfacecolor": "none", "markeredgewidth": 1.6}
        handles.append(Line2D([], [], markeredgecolor=RING["edgecolors"], label=ring, **circle))
    legend_below(ax, handles, room=room)
    ax.set_xlabel(ax.get_xlabel(), loc="right")  # beside them


def _rings(ax: Axes, x: NDArray[Any], y: NDArray[Any]) -> None:
    ax.scatter(x, y, **RING, zorder=3)


@checks.checked(source=of_source, model=checks.an(POMDP), bar=checks.flag, ax=checks.optional(checks.an(Axes)))
def beliefs(
    source: Source,
    model: POMDP,
    factor: str | int,
    *,
    trial: int = 0,
    scheme: str | int = 0,
    agent: int = 0,
    bar: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Posterior over the states of one factor (rows) at every time of a trial; rings mark the true states.

    Args:
        source: a result of ``simulate(..., trace=True)``, or what `activebmr.replay` returned.
        model: names factors and states.
        factor: name or index.
        trial, scheme, agent: which trial.
        bar: whether to add the scale of the shades.
        ax: where to draw.

    Example:
        >>> ax = beliefs(result, model, "left", agent=1, trial=2)
    """
    f = model.factor(factor)
    rows = one_trial(source, scheme, agent, trial)
    return draw_beliefs(rows, names_of(model, rows), f, bar=bar, ax=ax)


def draw_beliefs(rows: Mapping[str, NDArray[Any]], names: Names, f: int, *, bar: bool = False, ax: Axes | None = None) -> Axes:
    """`beliefs` of one trial, as `one_trial` returns it."""
    name, words = names.factors[f], list(names.states[f])
    qs = rows[f"qs_{name}"]
    states = rows["states"][:, f] if "states" in rows else np.full(len(qs), -1)  # recordings may not know them
    states = np.where(states < len(words), states, -1)  # the world may be another model, with other states
    true = np.where(states >= 0, states, qs.argmax(axis=1))
    alone, ax = ax is None, axes_of(ax, height=1.4 + 0.2 * min(len(words), _ROWS))
    image = _shades(ax, qs.T, distinct(words, 28) if len(words) <= _ROWS else None)
    _rings(ax, np.flatnonzero(states >= 0) + 1, states[states >= 0])
    ax.set_ylabel(short(name, 20))
    known = qs[np.arange(len(true)), true] > _CERTAIN
    if known.all():
        title(ax, f"{name}: known at all times")
    elif known[-1]:
        title(ax, f"{name}: {words[true[-1]]}, known from time {int(np.flatnonzero(~known)[-1]) + 2}")
    else:
        title(ax, f"{name}: in the end {words[true[-1]]} has probability {qs[-1, true[-1]]:.2f}")
    if alone:
        key_below(ax, "true state" if (states >= 0).any() else "")
    if bar:
        shade_bar(ax, image, "probability", [0, 0.5, 1])
    return ax


@checks.checked(
    source=of_source, model=checks.an(POMDP), numbers=checks.flag, bar=checks.flag, ax=checks.optional(checks.an(Axes))
)
def policies(
    source: Source,
    model: POMDP,
    *,
    trial: int = 0,
    scheme: str | int = 0,
    agent: int = 0,
    numbers: bool = False,
    bar: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Posterior over policies (rows) at every time of a trial; rings mark the ones that were chosen.

    Args:
        source: a result of ``simulate(..., trace=True)``, or what `activebmr.replay` returned.
        model: names controls.
        trial, scheme, agent: which trial.
        numbers: whether to write probabilities of at least 0.01 into the cells.
        bar: whether to add the scale of the shades.
        ax: where to draw.

    Example:
        >>> ax = policies(result, model, agent=1, trial=2, numbers=True)
    """
    rows = one_trial(source, scheme, agent, trial)
    return draw_policies(rows, names_of(model, rows), numbers=numbers, bar=bar, ax=ax)


def draw_policies(
    rows: Mapping[str, NDArray[Any]],
    names: Names,
    *,
    numbers: bool = False,
    bar: bool = False,
    policies: Sequence[int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """`policies` of one trial, as `one_trial` returns it; ``policies`` are those to draw, all by default."""
    kept = np.arange(len(names.policies)) if policies is None else np.asarray(policies)
    whole, words = rows["q_pi"], names.policies
    q_pi = whole[:, kept]
    alone, ax = ax is None, axes_of(ax, height=1.4 + 0.16 * len(kept))
    image = _shades(ax, q_pi.T, distinct([words[k] for k in kept], 36))
    times = np.arange(1, len(q_pi) + 1)
    place = {int(k): i for i, k in enumerate(kept)}
    chosen = np.array([place.get(int(k), -1) for k in rows["policy"]])
    done = (chosen >= 0) & (times < len(q_pi))  # nothing follows the last time, and replays may do what no policy does
    aside = 0.36 if numbers else 0.0
    _rings(ax, times[done] + aside, chosen[done])
    if numbers:
        for t, k in np.argwhere(q_pi >= 0.01):
            ink = "white" if q_pi[t, k] > 0.55 else PALETTE["black"]
            ax.text(t + 1, k, f"{q_pi[t, k]:.2f}", ha="center", va="center_baseline", fontsize="x-small", color=ink)
    ax.set_ylabel("policy")
    title(ax, _sure(whole, words))
    if alone:
        key_below(ax, "what is done next" if done.any() else "")
    if bar:
        shade_bar(ax, image, "probability", [0, 0.5, 1])
    return ax


def _sure(q_pi: NDArray[np.float64], words: Sequence[str]) -> str:
    sure = np.flatnonzero(q_pi.max(axis=1) > _CERTAIN) + 1
    if len(words) == 1:
        return "There is one policy only"
    if not len(sure):
        return f"Never certain what to do: at most {q_pi.max():.2f} for a policy"
    if len(sure) > 3:
        return f"Certain what to do at {len(sure)} of {len(q_pi)} times"
    return f"Certain what to do at time {', '.join(f'{t} ({words[q_pi[t - 1].argmax()]})' for t in sure)}"


@checks.checked(source=of_source, ax=checks.optional(checks.an(Axes)))
def doubt(source: Source, *, trial: int = 0, scheme: str | int = 0, agent: int = 0, ax: Axes | None = None) -> Axes:
    """Entropy of the belief over hypotheses at every time of a trial. The numbers beside the dots: how many equally likely
    hypotheses have this entropy.

    Example:
        >>> ax = doubt(result, agent=1, trial=2)
    """
    rows = one_trial(source, scheme, agent, trial)
    if "model_posterior" not in rows or np.isnan(rows["model_posterior"]).any():
        raise ValueError("source must be recorded from agents with hypotheses; its agents have none")
    belief = rows["model_posterior"]
    entropy = np.maximum(-(belief * np.log(np.maximum(belief, 1e-300))).sum(axis=-1), 0.0)
    times, left = np.arange(1, len(entropy) + 1), np.exp(entropy)
    ax = axes_of(ax, height=1.8)
    ax.plot(times, entropy, color=PALETTE["blue"], linewidth=1.4, marker="o", markersize=4)
    for t, value, count in zip(times, entropy, left, strict=True):
        ax.annotate(_count(count), (t, value), (0, 5), textcoords="offset points", ha="center", fontsize="small")
    ax.set_ylim(0 - 0.06 * entropy.max() - 0.02, 1.3 * entropy.max() + 0.1)
    time_axis(ax, len(entropy))
    whole_numbers(ax.yaxis, 5)
    ax.set_ylabel("entropy (nats)")
    end = "1 hypothesis" if _count(left[-1]) == "1" else f"{_count(left[-1])} hypotheses"
    if entropy[0] - entropy[-1] >= 0.005:
        words = f"Doubt falls by {entropy[0] - entropy[-1]:.2f} nats: from as much as about {_count(left[0])} to {end}"
    else:
        words = f"Doubt does not fall: as much as about {end} in the end"
    title(ax, words)
    tidy(ax)
    return ax


def _count(value: float) -> str:
    """A number of hypotheses: whole ones if there are many or if it is nearly whole."""
    return f"{value:.0f}" if value >= 9.95 or abs(value - round(value)) < 0.05 else f"{value:.1f}"


@checks.checked(source=of_source, ax=checks.optional(checks.an(Axes)))
def confidence(source: Source, *, trial: int = 0, scheme: str | int = 0, agent: int = 0, ax: Axes | None = None) -> Axes:
    """Confidence at every time of a trial: negative entropy of the posterior over policies, 0 for certainty, and what
    indifference between all policies would give as a dashed line.

    Example:
        >>> ax = confidence(result, agent=1, trial=2)
    """
    rows = one_trial(source, scheme, agent, trial)
    values, floor = rows["confidence"], -np.log(rows["q_pi"].shape[-1])
    times = np.arange(1, len(values) + 1)
    ax = axes_of(ax, height=1.8)
    ax.axhline(floor, color="#777777", linewidth=0.9, linestyle=(0, (4, 2)))
    ax.annotate("indifferent", (1, floor), (-2, -2), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="right", va="top", fontsize="small", color="#555555")  # fmt: skip
    ax.plot(times, values, color=PALETTE["blue"], linewidth=1.4, marker="o", markersize=4)
    ax.set_ylim(1.3 * floor - 0.05, 0.12 * abs(floor) + 0.05)
    time_axis(ax, len(values))
    ax.set_ylabel("confidence (nats)")
    title(ax, f"Confidence: highest at time {int(values.argmax()) + 1}, lowest at time {int(values.argmin()) + 1}")
    tidy(ax)
    return ax


@checks.checked(source=of_source, model=checks.an(POMDP), ax=checks.optional(checks.an(Axes)))
def outcomes(
    source: Source,
    model: POMDP,
    *,
    trial: int = 0,
    scheme: str | int = 0,
    agent: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """What was observed in every modality (rows) at every time of a trial, in words.

    Example:
        >>> ax = outcomes(result, model, agent=1, trial=2)
    """
    rows = one_trial(source, scheme, agent, trial)
    seen, modalities = rows["outcomes"], names_of(model, rows).modalities
    ax = axes_of(ax, height=0.9 + 0.25 * len(modalities))
    for m, name in enumerate(modalities):
        for t, o in enumerate(seen[:, m]):
            word = model.labels["outcomes"][name][o] if o >= 0 else "–"  # missed
            ax.text(t + 1, m, word, ha="center", va="center", fontsize="small")
    ax.set_yticks(range(len(modalities)), modalities)
    ax.set_ylim(len(modalities) - 0.5, -0.5)
    ax.hlines(np.arange(0.5, len(modalities) - 1), 0.5, len(seen) + 0.5, color="#DDDDDD", linewidth=0.7)
    time_axis(ax, len(seen))
    ax.tick_params(length=0)
    ax.spines[:].set_color("#BBBBBB")
    title(ax, "Outcomes at each time")
    return ax


def _factors(model: POMDP, given: Any, name: str) -> list[int]:
    """Factors by name or index."""
    try:
        return [model.factor(f) for f in checks.sequence(given, name)]
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name}: {error}" if not str(error).startswith(name) else str(error)) from None


@checks.checked(model=checks.an(POMDP), bar=checks.flag, ax=checks.optional(checks.an(Axes)))
def likelihood(
    A: ArrayLike,
    model: POMDP,
    modality: str | int,
    outcome: str | int,
    *,
    rows: Sequence[str | int] | None = None,
    columns: Sequence[str | int] | None = None,
    bar: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Probability of one outcome under every combination of states: some factors as rows, the others as columns.

    Args:
        A: probabilities or Dirichlet counts of the shape of ``model.A[m]``; they are normalised over outcomes.
        model: names modalities, outcomes, factors and states.
        modality: name or index.
        outcome: name or index of the outcome.
        rows: factors whose states make the rows, the first one varying slowest; by default the first half of the
            dependencies (and the columns the others).
        columns: factors whose states make the columns, the first one varying slowest; by default those that ``rows`` leaves.
        bar: whether to add the scale of the shades.
        ax: where to draw.

    Example:
        >>> learned = record(result)["pA_feedback"][-1]  # counts after the last trial
        >>> ax = likelihood(learned, model, "feedback", "right")
    """
    m = model.modality(modality)
    table, deps = checks.numbers(A, "A", checks.NOT_NEGATIVE), model.A_dependencies[m]  # type: ignore[index]
    if table.shape != model.A[m].shape:
        raise ValueError(f"A must have shape {model.A[m].shape}, that of the model's modality {modality!r}; got {table.shape}")
    outcome_names = model.labels["outcomes"][model.labels["modality"][m]]
    o = outcome_names.index(outcome) if isinstance(outcome, str) and outcome in outcome_names else outcome
    if isinstance(o, str):
        near = checks.meant(outcome, outcome_names)
        raise ValueError(f"outcome must be one of {outcome_names}; got {outcome!r}{near}")
    o = index("outcome", o, len(outcome_names))
    down = list(deps[: (len(deps) + 1) // 2]) if rows is None else _factors(model, rows, "rows")
    across = [f for f in deps if f not in down] if columns is None else _factors(model, columns, "columns")
    if sorted([*down, *across]) != sorted(deps):
        wanted = [model.labels["factor"][f] for f in deps]
        raise ValueError(f"rows and columns must together name each of {wanted} once; got {rows} and {columns}")
    chance = (table[o] / table.sum(axis=0)).transpose([deps.index(f) for f in (*down, *across)])
    height = int(np.prod([model.num_states[f] for f in down]))
    grid = chance.reshape(height, -1)
    ax = axes_of(ax, height=4.0)
    image = ax.imshow(grid, cmap=SHADES, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for axis, factors, size in ((ax.yaxis, down, height), (ax.xaxis, across, grid.shape[1])):
        _groups(ax, axis, model, factors, size)
    ax.spines[:].set_color("#BBBBBB")
    title(ax, f"Probability of {outcome_names[o]!r}: from {grid.min():.2g} to {grid.max():.2g}")
    if bar:
        shade_bar(ax, image, f"probability of {outcome_names[o]!r}", [0, 0.5, 1])
    return ax


def _groups(ax: Axes, axis: Any, model: POMDP, factors: Sequence[int], size: int) -> None:
    """Name the states of the slowest factor and draw lines between them; the label says how the others follow."""
    if not factors:
        axis.set_ticks([])
        return
    names = [model.labels["factor"][f] for f in factors]
    states = model.labels["states"][names[0]]
    each = size / len(states)
    axis.set_ticks([(k + 0.5) * each - 0.5 for k in range(len(states))], states)
    axis.set_tick_params(length=0)
    draw = ax.axhline if axis is ax.yaxis else ax.axvline
    for k in range(1, len(states)):
        draw(k * each - 0.5, color=PALETTE["black"], linewidth=0.7)
    axis.set_label_text(names[0] + (f" (within it: {', '.join(names[1:])})" if names[1:] else ""))
