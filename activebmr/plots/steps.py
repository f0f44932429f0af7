"""Plots of what happens within a trial, step by step, and of likelihoods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from activebmr.models import POMDP
from activebmr.plots.pick import index, record
from activebmr.plots.style import PALETTE, SHADES, axes_of, shade_bar, tidy, title
from activebmr.results import Result

__all__ = ["beliefs", "confidence", "likelihood", "outcomes", "policies", "policy_names"]

Source = Result | Mapping[str, Any]
_CERTAIN = 0.95


def _trial(source: Source, scheme: str | int, agent: int, trial: int) -> dict[str, NDArray[Any]]:
    rows = record(source, scheme, agent)
    trial = index("trial", trial, len(rows["policy"]))
    return {name: array[trial] for name, array in rows.items()}


def _shades(ax: Axes, values: NDArray[Any], names: Sequence[str]) -> Any:
    """Probabilities (rows, times) as shades, with times counted from 1 and thin white lines between the cells."""
    n_rows, n_times = values.shape
    box = (0.5, n_times + 0.5, n_rows - 0.5, -0.5)
    image = ax.imshow(values, cmap=SHADES, vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=box)
    ax.set_yticks(range(n_rows), names)
    ax.hlines(np.arange(0.5, n_rows - 1), 0.5, n_times + 0.5, color="white", linewidth=0.8)
    time_axis(ax, n_times)
    ax.vlines(np.arange(1.5, n_times), -0.5, n_rows - 0.5, color="white", linewidth=2)
    ax.spines[:].set_color("#BBBBBB")
    ax.tick_params(length=0)
    return image


def _rings(ax: Axes, x: NDArray[Any], y: NDArray[Any]) -> None:
    ax.scatter(x, y, s=26, facecolors="none", edgecolors=PALETTE["orange"], linewidths=1.6, zorder=3)


def time_axis(ax: Axes, n_times: int) -> None:
    """Every time of a trial as a tick, from 1."""
    ax.set_xlim(0.5, n_times + 0.5)
    ax.set_xticks(range(1, n_times + 1))
    ax.set_xlabel("time")


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
    """
    f = model.factor(factor)
    rows = _trial(source, scheme, agent, trial)
    name = model.labels["factor"][f]
    names, qs, true = model.labels["states"][name], rows[f"qs_{name}"], rows["states"][:, f]
    ax = axes_of(ax, height=1.2 + 0.2 * len(names))
    image = _shades(ax, qs.T, names)
    _rings(ax, np.arange(1, len(true) + 1), true)
    ax.set_ylabel(name)
    known = qs[np.arange(len(true)), true] > _CERTAIN
    if known.all():
        title(ax, f"{name}: known at all times")
    elif known[-1]:
        title(ax, f"{name}: {names[true[-1]]}, known from time {int(np.flatnonzero(~known)[-1]) + 2}")
    else:
        title(ax, f"{name}: in the end {names[true[-1]]} has probability {qs[-1, true[-1]]:.2f}")
    if bar:
        shade_bar(ax, image, "probability", [0, 0.5, 1])
    return ax


def policy_names(model: POMDP) -> list[str]:
    """What every policy does: the controls of the controlled factors, steps after one another."""
    factors = [(f, model.labels["controls"][model.labels["factor"][f]]) for f in model.controlled_factors]
    return [" → ".join(", ".join(names[step[f]] for f, names in factors) for step in policy) for policy in model.policies]


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
    """
    rows = _trial(source, scheme, agent, trial)
    q_pi, names = rows["q_pi"], policy_names(model)
    if q_pi.shape[1] != len(names):
        raise ValueError(f"model must have the {q_pi.shape[1]} policies of the source; it has {len(names)}")
    ax = axes_of(ax, height=1.2 + 0.16 * len(names))
    image = _shades(ax, q_pi.T, names)
    times = np.arange(1, len(q_pi) + 1)
    chosen = rows["policy"]
    done = (chosen >= 0) & (times < len(q_pi))  # nothing follows the last time, and replays may do what no policy does
    aside = 0.36 if numbers else 0.0
    _rings(ax, times[done] + aside, chosen[done])
    if numbers:
        for t, k in np.argwhere(q_pi >= 0.01):
            ink = "white" if q_pi[t, k] > 0.55 else PALETTE["black"]
            ax.text(t + 1, k, f"{q_pi[t, k]:.2f}", ha="center", va="center_baseline", fontsize="x-small", color=ink)
    ax.set_ylabel("policy")
    sure = [f"{t} ({names[k]})" for t, k, q in zip(times, q_pi.argmax(axis=1), q_pi.max(axis=1), strict=True) if q > _CERTAIN]
    title(
        ax, f"Certain what to do at time {', '.join(sure)}" if sure else f"Never certain: at most {q_pi.max():.2f} for a policy"
    )
    if bar:
        shade_bar(ax, image, "probability", [0, 0.5, 1])
    return ax


def confidence(source: Source, *, trial: int = 0, scheme: str | int = 0, agent: int = 0, ax: Axes | None = None) -> Axes:
    """Confidence at every time of a trial: negative entropy of the posterior over policies, 0 for certainty, and what
    indifference between all policies would give as a dashed line."""
    rows = _trial(source, scheme, agent, trial)
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


def outcomes(
    source: Source,
    model: POMDP,
    *,
    trial: int = 0,
    scheme: str | int = 0,
    agent: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """What was observed in every modality (rows) at every time of a trial, in words."""
    seen = _trial(source, scheme, agent, trial)["outcomes"]
    modalities = model.labels["modality"]
    ax = axes_of(ax, height=0.9 + 0.25 * len(modalities))
    for m, name in enumerate(modalities):
        for t, o in enumerate(seen[:, m]):
            ax.text(t + 1, m, model.labels["outcomes"][name][o], ha="center", va="center", fontsize="small")
    ax.set_yticks(range(len(modalities)), modalities)
    ax.set_ylim(len(modalities) - 0.5, -0.5)
    ax.hlines(np.arange(0.5, len(modalities) - 1), 0.5, len(seen) + 0.5, color="#DDDDDD", linewidth=0.7)
    time_axis(ax, len(seen))
    ax.tick_params(length=0)
    ax.spines[:].set_color("#BBBBBB")
    title(ax, "Outcomes at each time")
    return ax


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
    """
    m = model.modality(modality)
    table, deps = np.asarray(A, dtype=np.float64), model.A_dependencies[m]  # type: ignore[index]
    if table.shape != model.A[m].shape:
        raise ValueError(f"A must have shape {model.A[m].shape}, that of the model's modality {modality!r}; got {table.shape}")
    outcome_names = model.labels["outcomes"][model.labels["modality"][m]]
    o = outcome_names.index(outcome) if outcome in outcome_names else outcome
    if isinstance(o, str):
        raise ValueError(f"outcome must be one of {outcome_names}; got {outcome!r}")
    o = index("outcome", o, len(outcome_names))
    down = list(deps[: (len(deps) + 1) // 2]) if rows is None else [model.factor(f) for f in rows]
    across = [f for f in deps if f not in down] if columns is None else [model.factor(f) for f in columns]
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
