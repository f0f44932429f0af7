"""Plots of what happens within a trial, step by step, and of likelihoods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from activebmr.model.pomdp import POMDP
from activebmr.plots.pick import index, record
from activebmr.plots.style import PALETTE, SHADES, axes_of, number, shade_bar, tidy, title, whole_numbers
from activebmr.simulation.result import Result

__all__ = ["beliefs", "confidence", "doubt", "gains", "likelihood", "outcomes", "policies", "policy_names"]

Source = Result | Mapping[str, Any]
_CERTAIN = 0.95
_PARTS = {
    "state": ("about states", "blue"),
    "param": ("about parameters", "green"),
    "model": ("about models", "orange"),
}
_BAR = (-0.46, 0.62)  # where the bars of a time begin and how wide the longest one is, in widths of a time's column


def _trial(source: Source, scheme: str | int, agent: int, trial: int) -> dict[str, NDArray[Any]]:
    rows = record(source, scheme, agent)
    trial = index("trial", trial, len(rows["policy"]))
    lived = np.isfinite(rows["free_energy"][trial]) if "free_energy" in rows else np.ones(rows["policy"].shape[1], dtype=bool)
    if not lived.any():
        raise ValueError(f"trial {trial} of source did not take place")
    # trials of a replay may be shorter than the longest one
    timed = {n for n, a in rows.items() if a.shape[:2] == rows["policy"].shape and not n.startswith("pA_")}
    return {name: array[trial][lived] if name in timed else array[trial] for name, array in rows.items()}


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
    names, qs = model.labels["states"][name], rows[f"qs_{name}"]
    states = rows["states"][:, f] if "states" in rows else np.full(len(qs), -1)  # recordings may not know them
    true = np.where(states >= 0, states, qs.argmax(axis=1))
    ax = axes_of(ax, height=1.2 + 0.2 * len(names))
    image = _shades(ax, qs.T, names)
    _rings(ax, np.flatnonzero(states >= 0) + 1, states[states >= 0])
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


def gains(
    source: Source,
    model: POMDP,
    *,
    trial: int = 0,
    scheme: str | int = 0,
    agent: int = 0,
    parts: Sequence[str] | None = None,
    numbers: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Expected information gain of every policy (rows) at every time of a trial, as bars in nats; triangles mark the choices.

    A bar's parts are the gains about states, parameters and models. Parts below zero have no length.

    Args:
        source: a result of ``simulate(..., trace=True)``, or what `activebmr.replay` returned.
        model: names controls.
        trial, scheme, agent: which trial.
        parts: some of ``state``, ``param`` and ``model``; by default those that are not zero throughout the trial.
        numbers: whether to write the sum of the parts behind the bars.
        ax: where to draw.
    """
    rows, names = _trial(source, scheme, agent, trial), policy_names(model)
    unknown = [p for p in parts or () if p not in _PARTS]
    if unknown:
        raise ValueError(f"parts must be some of {list(_PARTS)}; got {unknown[0]!r}")
    shown = [p for p in _PARTS if (rows[f"{p}_info_gain"].any() if parts is None else p in parts)]
    values = {p: rows[f"{p}_info_gain"] for p in shown}
    n_times, n_policies = rows["q_pi"].shape
    if n_policies != len(names):
        raise ValueError(f"model must have the {n_policies} policies of the source; it has {len(names)}")
    total = sum(values.values(), np.zeros((n_times, n_policies)))
    length = sum((np.maximum(v, 0) for v in values.values()), np.zeros_like(total))
    unit = _BAR[1] / max(float(length.max()), 1e-9)
    ax = axes_of(ax, 7.0, 1.4 + 0.18 * len(names))
    times, chosen = np.arange(1, n_times + 1), rows["policy"]
    done = (chosen >= 0) & (times < n_times)
    ax.barh(chosen[done], np.ones(done.sum()), 1.0, times[done] - 0.5, color="#E3E3E3", linewidth=0, zorder=0)
    where, at = np.meshgrid(np.arange(n_policies), times)
    start = at + _BAR[0]
    for part, gain in values.items():
        words, paint = _PARTS[part]
        width = np.maximum(gain, 0) * unit
        seen = width > 0.002 * _BAR[1]  # bars of no width would leave slivers
        ax.barh(where[seen], width[seen], 0.72, start[seen], color=PALETTE[paint], linewidth=0, label=words)
        start = start + width
    if numbers:
        for t, k in np.argwhere(total >= 0.005):
            ax.text(start[t, k] + 0.02, k, f"{total[t, k]:.2f}", ha="left", va="center_baseline", fontsize=7.5)
    ax.scatter(times[done] + 0.44, chosen[done], s=22, marker="<", color=PALETTE["black"], linewidths=0, zorder=3)
    ax.vlines(np.arange(1.5, n_times), -0.5, n_policies - 0.5, color="#BBBBBB", linewidth=0.7)
    _gain_axis(ax, n_times, unit, float(length.max()))
    ax.set_yticks(range(n_policies), names)
    ax.set_ylim(n_policies - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_color("#BBBBBB")
    ax.set_ylabel("policy")
    most = np.unravel_index(int(total.argmax()), total.shape)
    title(ax, f"Most to gain at time {most[0] + 1}: {number(total.max(), '.2f')} nats ({names[most[1]]})")
    return ax


def _gain_axis(ax: Axes, n_times: int, unit: float, most: float) -> None:
    """Below each time's bars 0 and a round number of nats, and the time."""
    size = 10 ** np.floor(np.log10(max(most, 1e-9)))
    mark = max(m * size for m in (1, 2, 5) if m * size <= max(most, size))
    times = np.arange(1, n_times + 1)
    ax.set_xlim(0.5, n_times + 0.5)
    ticks = [0, mark] if most > 0 else [0]
    ax.set_xticks(
        [t + _BAR[0] + v * unit for t in times for v in ticks], [f"{v:g}" for _ in times for v in ticks], fontsize=7.5
    )
    ax.set_xticks(times, [f"\n{t}" for t in times], minor=True)
    ax.tick_params(axis="x", which="minor", length=0)
    ax.set_xlabel("nats at each time")


def doubt(source: Source, *, trial: int = 0, scheme: str | int = 0, agent: int = 0, ax: Axes | None = None) -> Axes:
    """Entropy of the belief over hypotheses at every time of a trial. The numbers beside the dots: how many equally likely
    hypotheses have this entropy."""
    rows = _trial(source, scheme, agent, trial)
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
