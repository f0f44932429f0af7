"""Figures of the bandit: regret over trials, what preferences are worth, and what agents find that payoffs depend on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from activebmr import Result, plots
from activebmr.arrays import standard_error
from activebmr.paradigms import bandit
from activebmr.paradigms.bandit.world import PREFERENCE

__all__ = ["figures", "overview"]

INK = plots.PALETTE["black"]
LOOKS = {
    "efe": ("blue", "-", 2.4),
    "no-model-gain": ("sky", (0, (4, 1.5)), 1.4),
    "greedy": ("orange", "-", 1.4),
    "apart": ("blue", (0, (1, 1.5)), 1.4),
    "knowing": ("grey", "-", 2.4),
    "thompson": ("vermilion", "-", 2.0),
    "thompson-apart": ("vermilion", (0, (1, 1.5)), 1.4),
    "ucb-structures": ("green", "-", 1.4),
    "ucb": ("green", (0, (1, 1.5)), 1.4),
}
"""Colour, dashes and width of the lines; dotted: every context a bandit of its own."""
WORDS = {
    "efe": "expected free energy",
    "no-model-gain": "no gain about what matters",
    "greedy": "payoffs alone",
    "apart": "free energy, contexts apart",
    "knowing": "knows what matters",
    "thompson": "Thompson sampling",
    "thompson-apart": "Thompson, contexts apart",
    "ucb-structures": "UCB, structures averaged",
    "ucb": "UCB, contexts apart",
}
_RIVALS = ("thompson", "ucb-structures", "ucb", "thompson-apart")  # those that are drawn
_STRUCTURES = ("grey", "orange", "sky", "green")
_SAYS = ("only the arm matters", "the colour matters", "the side matters", "both matter")


def overview(result: Result, by_preference: Mapping[float, np.ndarray] | None = None) -> Figure:
    """Regret over trials of schemes, rivals and who knows what matters; what a preference's size does; and what is found.

    Args:
        result: from `simulate`, schemes of the bandit.
        by_preference: from sizes of the preference to regret ``(n_agents, n_trials)`` of the scheme "efe", same agents.
    """
    missed = _all_regrets(result)
    tall, left, low = 2.75, 0.62, 1.3
    curve = 2.1 if by_preference else 0.0
    width = plots.WIDTH - left - 1.85 - (curve + 0.75 if by_preference else 0.0)
    finds = [s for s in range(len(result.schemes)) if np.isfinite(result.true_model_posterior[s]).any()]
    page = plots.Page(0.3 + tall + 0.5 + (0.75 + low + 0.45 if finds else 0.0), *_story(result, missed))
    ax = page.axes(left, 0.3, width, tall)
    _over_trials(ax, missed)
    plots.title(ax, "Payoffs missed so far, beside always the best arm")
    if by_preference:
        ax = page.axes(plots.WIDTH - curve - 0.15, 0.3, curve, tall)
        _over_preferences(ax, by_preference, missed)
    if finds:
        _found(page, result, finds[0], 0.3 + tall + 0.5 + 0.75, low)
    return page.figure


def _all_regrets(result: Result) -> dict[str, np.ndarray]:
    """Regret ``(n_agents, n_trials)`` of all that is drawn, by name."""
    missed = dict(zip(result.schemes, bandit.regret(result), strict=True))
    for name in _RIVALS:
        missed[name] = bandit.rival_regret(result, name)
    if "knowing" not in missed:
        missed["knowing"] = bandit.floor(result)
    return missed


def _number(value: float, form: str = ".1f") -> str:
    return f"{value:{form}}".replace("-", "−")


def _story(result: Result, missed: Mapping[str, np.ndarray]) -> tuple[str, str]:
    name = result.schemes[0]
    ours, theirs = (missed[n].sum(axis=1) for n in (name, "thompson"))
    n, trials = result.sizes["agent"], result.sizes["trial"]
    gap = ours - theirs
    error = standard_error(gap)
    words = WORDS.get(name, name)
    head = f"{words[:1].upper()}{words[1:]} misses {_number(ours.mean())} payoffs in {trials} trials, Thompson sampling "
    head += _number(theirs.mean())
    below = f"{n} agent{'s' * (n > 1)}, each with three arms, three colours and three sides of its own. "
    if not np.isnan(error):
        below += f"Paired difference: {_number(gap.mean(), '.2f')} ± {error:.2f}. "
    held = result.true_model_posterior[0, :, -1]
    if np.isfinite(held).any():
        below += f"Posterior of the true structure in the end: {held.mean():.2f} on average. "
    return (
        head,
        below + "All play for the same payoffs; Thompson sampling has the agents' beliefs. Bands, bars: standard errors.",
    )


def _over_trials(ax: Axes, missed: Mapping[str, np.ndarray]) -> None:
    trials = np.arange(1, next(iter(missed.values())).shape[1] + 1)
    ends = []
    for name, values in missed.items():
        paint, dashes, line = LOOKS.get(name, ("black", "-", 1.4))
        total = values.cumsum(axis=1)
        mean, error = total.mean(axis=0), total.std(axis=0, ddof=min(1, len(total) - 1)) / np.sqrt(len(total))
        colour = plots.PALETTE[paint]
        ax.fill_between(trials, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
        ax.plot(trials, mean, color=colour, linestyle=dashes, linewidth=line)
        ends.append((mean[-1], name, colour))
    ax.set(xlim=(1, max(2, trials[-1])), ylim=(0, None), xlabel="trial", ylabel="cumulative regret (payoffs)")
    ax.spines[["top", "right"]].set_visible(False)
    _labels(ax, ends)


def _labels(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names of the lines beside their ends, moved apart where they would overlap."""
    low, high = ax.get_ylim()
    room = 0.062 * (high - low)
    ends.sort()
    at = [end[0] for end in ends]
    for _ in range(200):
        for i in range(len(at) - 1):
            lack = room - (at[i + 1] - at[i])
            if lack > 1e-9:
                at[i], at[i + 1] = at[i] - lack / 2, at[i + 1] + lack / 2
        at[0] = max(at[0], low + room / 2)
    for y, (value, name, colour) in zip(at, ends, strict=True):
        words = f" {WORDS.get(name, name)}: {value:.1f}"
        ax.text(1.005, y, words, transform=ax.get_yaxis_transform(), va="center", color=colour, fontsize=7.8)


def _over_preferences(ax: Axes, by_preference: Mapping[float, np.ndarray], missed: Mapping[str, np.ndarray]) -> None:
    sizes = sorted(by_preference)
    totals = [by_preference[c].sum(axis=1) for c in sizes]
    means, errors = [t.mean() for t in totals], [standard_error(t) for t in totals]
    ax.errorbar(sizes, means, yerr=errors, color=plots.PALETTE["blue"], marker="o", markersize=3.5, linewidth=1.4, capsize=2)
    for name, x, side in (("thompson", 0.99, "right"), ("greedy", 0.52, "center")):
        if name in missed:
            colour, value = plots.PALETTE[LOOKS[name][0]], missed[name].sum(axis=1).mean()
            ax.axhline(value, color=colour, linewidth=1.2)
            ax.text(x, value, WORDS[name], transform=ax.get_yaxis_transform(), ha=side, va="bottom", color=colour)
    ax.axvline(PREFERENCE, color=INK, linewidth=0.7, linestyle=(0, (4, 2)))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    ax.set(ylim=(0, None), xlabel="preference for a payoff (nats)", ylabel="")
    ax.spines[["top", "right"]].set_visible(False)
    good = [c for c, m in zip(sizes, means, strict=True) if m < missed["thompson"].sum(axis=1).mean()]
    plots.title(
        ax, f"Regret in the end, less than Thompson's from {good[0]:g} to {good[-1]:g}" if good else "Regret in the end"
    )


def _found(page: plots.Page, result: Result, s: int, top: float, height: float) -> None:
    """The mean posterior over structures, for the agents of each true structure."""
    truths = np.broadcast_to(result.true_model, result.agent.shape)
    there, gap, left = np.unique(truths), 0.28, 0.62
    width = (plots.WIDTH - left - 0.15 - 3 * gap) / 4
    trials = np.arange(1, result.sizes["trial"] + 1)
    for k, m in enumerate(there):
        mine = truths == m
        mean = result.model_posterior[s, mine].mean(axis=0)
        ax = page.axes(left + k * (width + gap), top, width, height)
        for j, paint in enumerate(_STRUCTURES):
            ax.plot(trials, mean[:, j], color=plots.PALETTE[paint], linewidth=2.2 if j == m else 1.2)
        ax.set(xlim=(1, max(2, trials[-1])), ylim=(0, 1), xlabel="trial", ylabel="mean posterior" if k == 0 else "")
        ax.set_yticks([0, 0.5, 1])
        ax.tick_params(labelleft=k == 0)
        ax.spines[["top", "right"]].set_visible(False)
        right, wrong = result.adopted_truth[s, mine].mean(), result.adopted_wrong[s, mine].mean()
        plots.title(ax, f"True: {_SAYS[m]}. {right:.0%} adopt it, {wrong:.0%} another")
        if k == 0:
            name = WORDS.get(result.schemes[s], result.schemes[s])
            head = f"What agents find that payoffs depend on ({name}): mean posterior of each structure"
            ax.annotate(head, (-0.03, 1), (0, 46), xycoords="axes fraction", textcoords="offset points", fontsize=9)
            lines = [Line2D([], [], color=plots.PALETTE[p], linewidth=2) for p in _STRUCTURES]
            ax.legend(
                lines, _SAYS, ncols=4, loc="lower left", bbox_to_anchor=(-0.03, 1 + 30 / 72 / height), handlelength=1.3,
                columnspacing=1.5, borderaxespad=0,
            )  # fmt: skip


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw ``bandit.png``, see `overview`, into a folder, which is made if it is not there; returns the files written."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with plots.style():
        return [plots.save(overview(result), folder / "bandit.png")]
