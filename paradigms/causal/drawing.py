"""Figures of the causal paradigm: how the truth comes out, what is set, one agent's posterior over the 25 graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from activebmr import Result, plots
from activebmr.arrays import standard_error
from activebmr.paradigms.causal.free import FreeStudy
from activebmr.paradigms.causal.graphs import GRAPHS, SETTINGS, VARIABLES, equivalence_classes, say_setting, setting_index
from activebmr.paradigms.causal.measures import floor, found, late, trials_until
from activebmr.paradigms.causal.world import outcome_names

__all__ = ["chosen", "figures", "free_parameters", "known", "one_agent", "overview", "posterior", "typical_agent"]

COLOURS = {
    "gain": plots.PALETTE["blue"],
    "graph": plots.PALETTE["sky"],
    "random-open": plots.PALETTE["orange"],
    "random": plots.PALETTE["vermilion"],
    "watching": plots.PALETTE["grey"],
    "class (watching)": plots.PALETTE["grey"],  # of the truth and its equivalents
}
INK = plots.PALETTE["black"]
SURE = 0.95
TESTS = 12  # of Bramley et al.

_KINDS = ("one set to 1", "one to 1, one to 0", "two set to 1", "one set to 0", "two set to 0", "none", "all three")
_SHADES = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#BBBBBB", "#444444")


def _kind(setting: Sequence[int]) -> str:
    """What is done, whichever variables it is done to."""
    ones, zeros = setting.count(2), setting.count(1)
    if ones + zeros in (0, 3):
        return "none" if ones + zeros == 0 else "all three"
    return {(1, 0): _KINDS[0], (1, 1): _KINDS[1], (2, 0): _KINDS[2], (0, 1): _KINDS[3], (0, 2): _KINDS[4]}[ones, zeros]


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    return Figure(figsize=(width, height), layout="constrained").subplots() if ax is None else ax


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)


def _band(ax: Axes, x: NDArray[np.float64], values: NDArray[np.float64], label: str, **style: object) -> None:
    """The mean over agents ``(agents, trials)``, and two standard errors to both sides."""
    mean, error = values.mean(axis=0), np.array([standard_error(v) for v in values.T])
    colour = COLOURS[label]
    ax.plot(x, mean, color=colour, lw=1.6, label=label, **style)  # type: ignore[arg-type]
    ax.fill_between(x, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.25, linewidth=0)


def posterior(result: Result, ax: Axes | None = None, trials: int = TESTS) -> Axes:
    """Posterior of the true graph over the first trials: mean of all agents, bands of two standard errors."""
    ax = _axes(ax, 4.2, 3.0)
    n = min(trials, result.sizes["trial"])
    x = np.arange(n + 1)
    ends, parts = {}, []
    for s, scheme in enumerate(result.schemes):
        values = result.true_model_posterior[s, :, :n]
        _band(ax, x, np.concatenate([np.full((len(values), 1), 1 / len(GRAPHS)), values], axis=1), scheme)
        ends[scheme] = values[:, -1].mean()
        parts.append(f"{scheme} {found(result)[s, :, n - 1].mean():.0%}")
    _name_lines(ax, ends, n)
    ax.set(xlim=(0, n), ylim=(0, 1), xlabel="trials", ylabel="posterior of the true graph")
    ax.set_xticks(range(0, n + 1, 2 if n <= 16 else max(1, n // 6)))
    plots.title(ax, f"Found after {n} trials: {', '.join(parts)}")
    _tidy(ax)
    return ax


def _name_lines(ax: Axes, ends: Mapping[str, float], x: float, gap: float = 0.066) -> None:
    """Names at the ends of lines, in their colours, moved apart where they would meet."""
    last = -1.0
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        last = max(y, last + gap)
        ax.annotate(f" {name}", (x, last), color=COLOURS[name], va="center", annotation_clip=False, fontweight="bold")


def known(result: Result, ax: Axes | None = None) -> Axes:
    """Share of agents to whom the true graph has once had a posterior of .95, over trials."""
    ax = _axes(ax, 4.2, 3.0)
    n, when, never = result.sizes["trial"], trials_until(result), late(result)
    x = np.arange(1, n + 1)
    for s, scheme in enumerate(result.schemes):
        share = ((when[s][:, None] <= x) & ~never[s][:, None]).mean(axis=0)
        ax.step(x, share, where="post", color=COLOURS[scheme], lw=1.6, label=scheme)
    bound = floor(result)
    ax.axvline(bound, color=INK, lw=0.9, ls=(0, (4, 2)))
    ax.text(bound * 0.95, 0.97, f"no mean below\n{bound:.1f} (bound)", ha="right", va="top", fontsize=7.5)
    ax.set(
        xscale="log", xlim=(1, 1.04 * n), ylim=(0, 1.02), xlabel="trials (log)", ylabel=f"agents who were {SURE:.0%} sure of it"
    )
    ticks = [t for t in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if t <= n]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.legend(loc="center left", handlelength=1.2)  # where nobody is sure yet
    plots.title(ax, _known_says(result, when, never))
    _tidy(ax)
    return ax


def _known_says(result: Result, when: NDArray[np.intp], never: NDArray[np.bool_]) -> str:
    parts = []
    for s, scheme in enumerate(result.schemes):
        more = "over " if never[s].any() else ""
        parts.append(f"{scheme} {more}{when[s].mean():.1f}")
    return f"Mean trials until {SURE:.0%} sure: {', '.join(parts)}"


def chosen(result: Result, scheme: str | int = 0, ax: Axes | None = None, trials: int = TESTS) -> Axes:
    """What agents of a traced result set in each of the first trials (the first test of a trial)."""
    ax = _axes(ax, 4.2, 3.0)
    s, n = result.index(scheme), min(trials, result.sizes["trial"])
    done = setting_index(result.trace["controls"][s, :, :n, 0, :3])
    kinds = np.array([_KINDS.index(_kind(setting)) for setting in SETTINGS])[done]
    below = np.zeros(n)
    x = np.arange(1, n + 1)
    for k, name in enumerate(_KINDS):
        share = (kinds == k).mean(axis=0)
        if share.any():
            ax.bar(x, share, bottom=below, width=0.88, color=_SHADES[k], label=name)
        below += share
    ax.set(xlim=(0.4, n + 0.6), ylim=(0, 1), xlabel="trial", ylabel="share of agents")
    ax.set_xticks(range(1, n + 1, 1 if n <= 12 else n // 6))
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=0.9, handletextpad=0.5, title="what is set")
    plots.title(ax, _chosen_says(kinds))
    _tidy(ax)
    return ax


def _chosen_says(kinds: NDArray[np.intp]) -> str:
    """In words what is set, from kinds ``(agents, trials)``."""
    alone = (kinds == _KINDS.index("one set to 1")).all(axis=0)
    until = len(alone) if alone.all() else int(alone.argmin())
    two = [_KINDS.index(k) for k in ("one to 1, one to 0", "two set to 1", "two set to 0")]
    if not until or until == len(alone):
        return "What is set in each trial"
    watching = (kinds == _KINDS.index("none")).mean()
    watched = "nobody ever just watches" if watching == 0 else f"{watching:.1%} just watch"
    held = np.isin(kinds[:, until:], two).mean()
    often = "The first setting is" if until == 1 else f"The first {until} settings are"
    return f"{often} one variable at 1; then two are held in {held:.0%} of trials; {watched}"


def typical_agent(result: Result, scheme: str | int = 0) -> int:
    """The agent whose time to find out is the median of its scheme's."""
    when = trials_until(result)[result.index(scheme)]
    return int(np.argsort(np.abs(when - np.median(when)), kind="stable")[0])


def one_agent(
    result: Result, scheme: str | int = 0, agent: int | None = None, ax: Axes | None = None, trials: int = TESTS
) -> Axes:
    """One agent's posterior over the 25 graphs, trial by trial; what it did and saw, if the result is traced."""
    s, n = result.index(scheme), min(trials, result.sizes["trial"])
    k = typical_agent(result, s) if agent is None else agent
    ax = _axes(ax, 9.0, 4.2)
    rows = np.concatenate([np.full((1, len(GRAPHS)), 1 / len(GRAPHS)), result.model_posterior[s, k, :n]])
    truth = int(np.broadcast_to(result.true_model, (result.sizes["agent"],))[k])
    ax.imshow(rows, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_yticks(range(n + 1), ["before", *_diary(result, s, k, n)], fontsize=7.5)
    ax.set_xticks([])
    ax.set_xticks(np.arange(len(GRAPHS) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(n + 2) - 0.5, minor=True)
    ax.grid(which="minor", color="#EEEEEE", lw=0.6)
    ax.tick_params(which="both", length=0)
    for row, column in np.argwhere(rows >= 0.095):
        shade = "white" if rows[row, column] > 0.55 else INK
        ax.text(column, row, f"{rows[row, column]:.2f}".lstrip("0"), ha="center", va="center", fontsize=6.5, color=shade)
    frame = plots.PALETTE["vermilion"]
    ax.add_patch(Rectangle((truth - 0.5, -0.5), 1, n + 1, fill=False, edgecolor=frame, lw=1.4, zorder=4))
    for g in range(len(GRAPHS)):
        _glyph(ax, g, g == truth)
    when, never = trials_until(result)[s, k], late(result)[s, k]
    sure = f", {SURE:.0%} sure of the true graph (framed) after {when} trials"
    end = sure if when <= n and not never else f" gives the true graph (framed) {rows[-1, truth]:.2f} after {n} trials"
    told = "; rows: what it sets, and sees of X, Y, Z" if "controls" in result.trace else ""
    words = plots.wrap(f"One agent ({result.schemes[s]}){end}{told}", ax.bbox.width / ax.figure.dpi * 72, 9)
    ax.set_title(words, loc="left", y=1.18, pad=0)
    ax.spines[:].set_visible(False)
    return ax


def _diary(result: Result, scheme: int, agent: int, n: int) -> list[str]:
    """What an agent did and saw in each trial, or the trials' numbers."""
    if "controls" not in result.trace:
        return [f"trial {t + 1}" for t in range(n)]
    said = next(iter(result.settings["schemes"].values()))
    names = outcome_names(said["watched"])
    done = setting_index(result.trace["controls"][scheme, agent, :n, 0, :3])
    seen = result.trace["outcomes"][scheme, agent, :n, 1, 0]
    return [f"{say_setting(int(a))}: {names[int(o)]}" for a, o in zip(done, seen, strict=True)]


_CORNERS = ((0.0, 0.145), (-0.27, 0.035), (0.27, 0.035))  # of X, Y and Z: columns, and heights above the axes


def _glyph(ax: Axes, graph: int, true: bool) -> None:
    """A graph, drawn small above its column."""
    colour, across = plots.PALETTE["vermilion"] if true else INK, ax.get_xaxis_transform()
    place = [(graph + x, 1 + y) for x, y in _CORNERS]
    for (x, y), name in zip(place, VARIABLES, strict=True):
        ax.text(x, y, name, transform=across, ha="center", va="center", fontsize=5.5, color=colour)
    for a, b in GRAPHS[graph]:
        style = {"arrowstyle": "-|>", "mutation_scale": 5.5, "lw": 0.9, "shrinkA": 3.6, "shrinkB": 3.6, "clip_on": False}
        ax.add_patch(FancyArrowPatch(place[a], place[b], color=colour, transform=across, **style))


def free_parameters(studies: Sequence[FreeStudy], ax: Axes | None = None) -> Axes:
    """Observers who know no parameters: posterior of the true graph, and of its whole class (dashed) for those who watch."""
    ax = _axes(ax, 4.2, 3.0)
    n = studies[0].posterior.shape[1]
    x = np.arange(1, n + 1)
    ends = {}
    for one in studies:
        _band(ax, x, one.of_truth, one.way)
        ends[one.way] = one.of_truth[:, -1].mean()
        if one.way == "watching":
            classes = equivalence_classes()
            of_class = (one.posterior * (classes == classes[one.truth][:, None])[:, None]).sum(axis=2).mean(axis=0)
            ax.plot(x, of_class, color=COLOURS["watching"], lw=1.3, ls=(0, (2, 1.5)))
            ends["class (watching)"] = of_class[-1]
    _name_lines(ax, ends, n)
    ax.set(xlim=(1, n), ylim=(0, 1), xlabel="trials", ylabel="posterior of the true graph")
    plots.title(ax, _free_says(studies))
    _tidy(ax)
    return ax


def _free_says(studies: Sequence[FreeStudy]) -> str:
    end = {s.way: s.of_truth[:, -1].mean() for s in studies}
    n = studies[0].posterior.shape[1]
    told = f"Parameters unknown, {n} trials"
    if "watching" in end:
        told += ": watching never tells equivalent graphs apart"
    if {"gain", "graph"} <= set(end) and end["gain"] > end["graph"]:
        told += "; to seek what tells about the graph alone is short-sighted"
    return told


def overview(result: Result, traced: Result, studies: Sequence[FreeStudy]) -> Figure:
    """All of it on one page: ``traced`` holds the first trials of the first scheme, step by step."""
    when = dict(zip(result.schemes, trials_until(result), strict=True))
    n = result.sizes["agent"]
    head = (
        f"Choosing what to set by exact information gain finds one of 25 causal graphs in {when['gain'].mean():.1f} trials; "
        f"settings at random take {when['random'].mean():.0f}"
    )
    below = (
        f"Three binary variables, noisy-or of strength .8, background .1. {n} agents per scheme, each with a true graph of its "
        "own, the same for all schemes; bands: two standard errors."
    )
    page = plots.Page(10.6, head, below)
    posterior(result, page.axes(0.55, 0.4, 2.75, 2.2))
    known(result, page.axes(5.0, 0.4, 3.75, 2.2))
    one_agent(traced, 0, ax=page.axes(1.15, 3.85, 7.7, 2.9))
    chosen(traced, 0, page.axes(0.55, 7.85, 2.5, 2.2))
    free_parameters(studies, page.axes(5.35, 7.85, 2.3, 2.2))
    return page.figure


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw what a result shows into a folder, which is made if it is not there.

    Always ``posterior.png``, ``known.png`` and ``one_agent.png`` (a typical agent of the first scheme); ``chosen.png`` (what
    the first scheme sets) if the result was simulated with ``trace=True``.

    Returns:
        the files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with plots.style():
        drawn = {"posterior.png": posterior(result), "known.png": known(result), "one_agent.png": one_agent(result)}
        if "controls" in result.trace:
            drawn["chosen.png"] = chosen(result)
        return [plots.save(ax.figure, folder / name) for name, ax in drawn.items()]  # type: ignore[arg-type]
