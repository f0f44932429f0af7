"""Figures of the rule-learning paradigm: performance, aha moments, evidence for motifs, what instruction is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from activebmr import Agent, AgentState, Result, plots, simulate
from activebmr.arrays import standard_error
from activebmr.paradigms.insight import WINDOW, aha_trial, hits, motifs, paradigm

__all__ = ["ahas", "evidence", "figures", "instruction", "life", "performance", "relived", "summary", "typical_agent"]

INK = plots.PALETTE["black"]
MEASURES = {
    "right": ("right answers", "right answers\n(% of agents)", "%"),
    "free_energy": ("free energy", "free energy\n(nats per trial)", ""),
    "confidence": ("confidence", "confidence\n(nats per trial)", ""),
}
"""What is drawn by trial: its name, its axis, and its unit in words."""
LOOKS = {
    "knowing": ("grey", "-", 3.0),
    "naive": ("vermilion", "-", 1.6),
    "sleep": ("blue", "-", 2.4),
    "sleep-dream": ("orange", (0, (5, 4)), 1.4),
    "sleep-own": ("black", (0, (1, 3)), 1.4),
    "instructed": ("green", "-", 1.6),
}
"""Colour, dashes and width of the schemes' lines; one that lies on top of another lets it shine through."""
STEPS = (1, 2, 5, 10)
RIGHT, WRONG, NONE = "#D6E6F4", plots.PALETTE["vermilion"], "#BBBBBB"


# --- what is drawn -------------------------------------------------------------------------------------------------------
def look(result: Result, s: int) -> tuple[str, object, float]:
    """Colour, dashes and width of a scheme's line."""
    name, dashes, width = LOOKS.get(result.schemes[s], ("", "-", 1.6))
    return plots.PALETTE[name] if name else plots.colour(s), dashes, width


def measured(result: Result, measure: str) -> np.ndarray:
    """One of the `MEASURES` ``(scheme, agent, trial)``; right answers are 0 or 100 %."""
    return 100.0 * hits(result) if measure == "right" else result[measure]


def sleeping(result: Result) -> list[int]:
    """Positions of the schemes whose agents sleep."""
    return [s for s in range(len(result.schemes)) if (result.best_model[s] >= 0).any()]


def truth_of(result: Result, agent: int) -> int:
    return int(result.true_model[agent] if result.true_model.ndim else result.true_model)


def typical_agent(result: Result, scheme: str | int) -> int:
    """The agent whose aha trial is nearest to the median of its scheme (the first of them); 0 if none has any."""
    when = aha_trial(result)[result.index(scheme)]
    if (when < 0).all():
        return 0
    return int(np.where(when >= 0, np.abs(when - np.median(when[when >= 0])), np.inf).argmin())


def _number(value: float, form: str) -> str:
    """A number in words, with a true minus sign, and no sign before a zero."""
    text = f"{value:{form}}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def _pm(values: np.ndarray, form: str = ".1f") -> str:
    """Mean and standard error in words, the mean alone for one value."""
    error = standard_error(values)
    return _number(values.mean(), form) + ("" if np.isnan(error) else f" ± {error:{form.lstrip('+')}}")


def _size(result: Result) -> str:
    agents, trials = (f"{n} {name}{'s' if n > 1 else ''}" for name, n in result.sizes.items() if name in ("agent", "trial"))
    return f"{agents} per scheme, {trials} each."


def _window(result: Result) -> int:
    """How many trials at the beginning and at the end are averaged in words."""
    return min(8, max(1, result.sizes["trial"] // 2))


def _first(count: int) -> str:
    return f"trials 1–{count}" if count > 1 else "trial 1"


def _last(result: Result, count: int) -> str:
    n = result.sizes["trial"]
    return f"trials {n - count + 1}–{n}" if count > 1 else f"trial {n}"


def _names(result: Result, values: Sequence[float], form: str) -> str:
    """A value of every scheme, or the lowest and the highest of many."""
    if len(values) <= 3:
        return ", ".join(f"{name} {_number(v, form)}" for name, v in zip(result.schemes, values, strict=True))
    low, high = int(np.argmin(values)), int(np.argmax(values))
    ends = [f"{_number(values[k], form)} ({result.schemes[k]})" for k in (low, high)]
    return f"from {ends[0]} to {ends[1]}"


# --- panels --------------------------------------------------------------------------------------------------------------
def curve(
    ax: Axes, values: np.ndarray, colour: str, dashes: object = "-", width: float = 1.6, *, label: str = "", zorder: float = 3
) -> None:
    """Mean over agents of values ``(agent, trial)``, with a band of one standard error to both sides."""
    trials, middle = np.arange(1, values.shape[1] + 1), values.mean(axis=0)
    dot = {"marker": "o", "markersize": 4} if len(trials) == 1 else {}
    ax.plot(trials, middle, color=colour, linestyle=dashes, linewidth=width, label=label, zorder=zorder, **dot)
    if len(values) > 1:
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        if len(trials) == 1:
            ax.errorbar(trials, middle, error, color=colour, capsize=2.5)
        ax.fill_between(trials, middle - error, middle + error, color=colour, alpha=0.2, linewidth=0, zorder=2)


def by_trial(ax: Axes, result: Result, measure: str, schemes: Sequence[int] | None = None) -> None:
    """One of the `MEASURES` by trial, a curve per scheme; the title says where it stands in the end."""
    chosen = range(len(result.schemes)) if schemes is None else schemes
    values = measured(result, measure)
    for s in chosen:
        drawn = {"label": result.schemes[s], "zorder": 6 - look(result, s)[2]}  # wide lines lie below narrow ones
        curve(ax, values[s], *look(result, s), **drawn)
    _trials(ax, result)
    ax.set_ylabel(MEASURES[measure][1])
    if measure == "right":
        ax.set_ylim(min(0.0, ax.get_ylim()[0]), 104)
        ax.set_yticks([0, 25, 50, 75, 100])
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
    plots.title(ax, _by_trial_says(result, measure))


def _trials(ax: Axes, result: Result) -> None:
    n = result.sizes["trial"]
    ax.set_xlim(0.5, n + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
    ax.set_xlabel("trial")
    ax.spines[["top", "right"]].set_visible(False)


def _by_trial_says(result: Result, measure: str) -> str:
    values, n = measured(result, measure), _window(result)
    if measure != "right":
        end = values[:, :, -n:].mean(axis=(1, 2))
        name = MEASURES[measure][0].capitalize()
        return f"{name} in {_last(result, n)}: {_names(result, end, '.2f')}"
    share = values.mean(axis=1)
    low = share < 95.0
    since = np.where(low.any(axis=1), share.shape[1] - low[:, ::-1].argmax(axis=1), 0) + 1
    if (since > share.shape[1]).all():
        return f"Right answers in {_last(result, n)} (%): {_names(result, share[:, -n:].mean(axis=1), '.0f')}"
    steady = [(int(t), name) for t, name in zip(since, result.schemes, strict=True) if t <= share.shape[1]]
    if len(steady) > 3:
        steady = [min(steady), max(steady)]
    return f"Never again below 95% right: {', '.join(f'{name} from trial {t}' for t, name in sorted(steady))}"


def _means(ax: Axes, result: Result, measure: str) -> None:
    """Mean over trials of every scheme, named and with its number at the right."""
    values = measured(result, measure).mean(axis=2)
    for s, row in enumerate(values):
        error = standard_error(row)
        colour = look(result, s)[0]
        ax.errorbar(row.mean(), s, xerr=None if np.isnan(error) else error, color=colour, marker="o", markersize=4, capsize=2.5)
    form = ".1f" if measure == "right" else ".2f"
    words = [f"{name} {_number(row.mean(), form)}" for name, row in zip(result.schemes, values, strict=True)]
    ax.set_yticks(range(len(values)), words)
    for s, label in enumerate(ax.get_yticklabels()):
        label.set_color(look(result, s)[0])
    ax.tick_params(axis="y", length=0, labelright=True, labelleft=False, labelsize=8.5)
    ax.set_ylim(len(values) - 0.4, -0.6)
    ax.margins(x=0.15)
    ax.xaxis.set_major_locator(MaxNLocator(3, steps=STEPS))
    ax.grid(axis="y", color="#E4E4E4", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)


def raster(ax: Axes, result: Result, s: int) -> None:
    """Right and wrong answers of all agents (rows) of one scheme, sorted by the trial of their aha moment, which is marked."""
    when, right = aha_trial(result)[s], hits(result)[s]
    n_agents, n_trials = right.shape
    silent = (result.wins[s] == 0) & (result.losses[s] == 0)
    kind = np.where(right, 0, np.where(silent, 2, 1))
    order = np.argsort(np.where(when < 0, n_trials, when), kind="stable")
    box = (0.5, n_trials + 0.5, n_agents - 0.5, -0.5)
    shades = ListedColormap([RIGHT, WRONG, NONE])
    ax.imshow(kind[order], cmap=shades, vmin=0, vmax=2, aspect="auto", interpolation="nearest", extent=box)
    rows = np.flatnonzero(when[order] >= 0)
    size = float(np.clip(420 / n_agents, 3, 20))
    ax.scatter(when[order][rows] + 1, rows, s=size, color=INK, linewidths=0, zorder=3)
    _trials(ax, result)
    ax.set_yticks([])
    ax.set_ylabel(f"{n_agents} agents, by aha trial" if n_agents > 1 else "1 agent")
    ax.spines[:].set_visible(False)
    plots.title(ax, _aha_says(result, s))


def raster_keys(result: Result, schemes: Sequence[int]) -> list[object]:
    """What the colours of `raster` mean."""
    silent = any(((result.wins[s] == 0) & (result.losses[s] == 0)).any() for s in schemes)
    keys: list[object] = [Patch(color=RIGHT, label="answered right"), Patch(color=WRONG, label="answered wrong")]
    keys += [Patch(color=NONE, label="did not answer")] if silent else []
    return [*keys, Line2D([], [], color=INK, marker="o", markersize=4, linestyle="", label="aha: the true motif is found")]


def _aha_says(result: Result, s: int) -> str:
    when, right = aha_trial(result)[s], hits(result)[s]
    found, n, name = when >= 0, len(when), result.schemes[s]
    words = f"{name}: found by {found.sum()} of {n} agents" if n > 1 else f"{name}: {'found' if found.any() else 'not found'}"
    wrong = int(result.adopted_wrong[s].sum())
    words += f", {wrong} hold{'s' if wrong == 1 else ''} another motif in the end" if wrong else ""
    after = found[:, None] & (np.arange(right.shape[1]) > when[:, None])
    before = found[:, None] & ~after
    if not after.any():
        return words
    return f"{words}; right: {_share(right[before])} until then, {_share(right[after])} after it"


def _share(values: np.ndarray) -> str:
    """A percentage in words; only all are 100%."""
    share = 100 * float(values.mean())
    return f"{min(share, 99.9):.1f}%" if 99.5 <= share < 100 else f"{share:.0f}%"


def aha_bars(ax: Axes, result: Result, s: int) -> None:
    """How the aha trial is spread over agents; the dot is its mean and standard error."""
    when, n = aha_trial(result)[s], result.sizes["trial"]
    found, colour = when[when >= 0] + 1, look(result, s)[0]
    counts = np.bincount(found, minlength=n + 1)[1:] * 100 / len(when)
    ax.bar(np.arange(1, n + 1), counts, 0.86, color=colour, alpha=0.6, linewidth=0)
    top = max(10.0, float(counts.max()))
    if len(found):
        error = standard_error(found)
        ax.errorbar(
            found.mean(),
            1.15 * top,
            xerr=None if np.isnan(error) else error,
            color=colour,
            marker="o",
            markersize=4,
            capsize=2.5,
        )
        plots.title(ax, f"aha: trial {_pm(found)}, median {np.median(found):g} ({found.min()}–{found.max()})")
    else:
        plots.title(ax, "no agent has an aha moment")
    ax.set_ylim(0, 1.3 * top)
    ax.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    ax.set_ylabel("% of agents")
    _trials(ax, result)


# --- pages ---------------------------------------------------------------------------------------------------------------
def performance(result: Result) -> Figure:
    """Right answers, free energy and confidence by trial for every scheme, and their means over trials."""
    left, width, tall, gap = 0.82, 5.2, max(1.35, 0.24 * len(result.schemes)), 0.5
    page = plots.Page(0.3 + 3 * tall + 2 * gap + 0.55, _performance_story(result), _note(result))
    for k, measure in enumerate(MEASURES):
        top = 0.3 + k * (tall + gap)
        ax = page.axes(left, top, width, tall)
        by_trial(ax, result, measure)
        side = page.axes(left + width + 0.25, top, 1.35, tall)
        _means(side, result, measure)
        if k == 0:
            plots.title(side, "Mean of all trials")
        if k < 2:
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
        side.set_xlabel("nats" if k else "%")
        side.xaxis.labelpad = 1
    page.figure.align_ylabels([ax for ax in page.figure.axes if ax.get_ylabel()])
    return page.figure


def _note(result: Result) -> str:
    paired = " Agent k of every scheme lives through the same random numbers." if len(result.schemes) > 1 else ""
    bands = " Lines: mean over agents; bands and bars: its standard error." if result.sizes["agent"] > 1 else ""
    return _size(result) + bands + paired


def _pair(result: Result) -> tuple[str, str] | None:
    """The two schemes that are compared in words."""
    names = result.schemes
    first = [result.schemes[s] for s in sleeping(result)] + [n for n in ("instructed", "knowing") if n in names]
    return (first[0], "naive") if first and "naive" in names else None


def _performance_story(result: Result) -> str:
    right = measured(result, "right").mean(axis=2)
    pair = _pair(result)
    if pair is None:
        return f"Trials answered right: {'; '.join(f'{n} {_pm(right[s])}%' for s, n in enumerate(result.schemes[:3]))}"
    return _compare(result, pair[0])


def _compare(result: Result, scheme: str) -> str:
    """Right answers of a scheme and of naive agents, and the paired difference."""
    mine, naive = (measured(result, "right")[result.index(s)].mean(axis=1) for s in (scheme, "naive"))
    gap = f" (paired difference {_pm(mine - naive, '+.1f')})" if len(mine) > 1 else ""
    return f"Trials answered right: {scheme} {mine.mean():.1f}%, naive {naive.mean():.1f}%{gap}"


def ahas(result: Result) -> Figure:
    """Aha moments: for each scheme that sleeps, right and wrong answers of all agents sorted by the trial in which they find
    the true motif, and the distribution of that trial."""
    chosen = sleeping(result)
    if not chosen:
        raise ValueError(f"result must hold a scheme whose agents sleep; it holds {result.schemes}")
    across = min(3, len(chosen))
    left, gap, tall, low = 0.55, 0.5, float(np.clip(0.06 * result.sizes["agent"], 1.5, 3.2)), 1.0
    each = (9.0 - left - 0.2 - gap * (across - 1)) / across
    head = 0.62 if across > 2 else 0.42
    block = head + tall + 0.5 + low + 0.55
    down = -(-len(chosen) // across)
    bars = " Dots below: mean and its standard error." if result.sizes["agent"] > 1 else ""
    page = plots.Page(down * block + 0.25, _ahas_story(result, chosen[0]), _size(result) + bars)
    for k, s in enumerate(chosen):
        row, column = divmod(k, across)
        x, top = left + column * (each + gap), row * block + head
        ax = page.axes(x, top, each, tall)
        raster(ax, result, s)
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
        bars = page.axes(x, top + tall + 0.5, each, low)
        aha_bars(bars, result, s)
        if column:
            ax.set_ylabel("")
            bars.set_ylabel("")
    page.figure.legend(handles=raster_keys(result, chosen), loc="lower left", ncols=4, bbox_to_anchor=(left / 9.0 - 0.01, 0.0))
    return page.figure


def _ahas_story(result: Result, s: int) -> str:
    when = aha_trial(result)[s]
    found = when[when >= 0] + 1
    if not len(found):
        return f"Aha moments: no agent finds the true motif in {result.sizes['trial']} trials ({result.schemes[s]})"
    who = f"{len(found)} of {len(when)} agents find" if len(when) > 1 else "the agent finds"
    middle = f"after trial {np.median(found):g}" + (" in the median" if len(found) > 1 else "")
    return f"Aha moments: {who} the true motif asleep, {middle} ({result.schemes[s]})"


def evidence(result: Result, scheme: str | int | None = None, agent: int | None = None) -> Figure:
    """One agent's log evidence ratios of all motifs against none by trial, with Occam's window; its answers; its confidence.

    Args:
        result: from `simulate`.
        scheme: one that sleeps; the first of them by default.
        agent: by default a typical one.
    """
    chosen = sleeping(result)
    if not chosen:
        raise ValueError(f"result must hold a scheme whose agents sleep; it holds {result.schemes}")
    s = chosen[0] if scheme is None else result.index(scheme)
    if s not in chosen:
        raise ValueError(f"scheme must be one whose agents sleep, {[result.schemes[k] for k in chosen]}; got {scheme!r}")
    a = typical_agent(result, s) if agent is None else agent
    if not 0 <= a < result.sizes["agent"]:
        raise ValueError(f"agent must lie in 0..{result.sizes['agent'] - 1}; got {a}")
    left, width, gap = 0.82, 6.65, 0.42
    typical = ": a typical one" if agent is None and result.sizes["agent"] > 1 else ""
    who = f"Scheme '{result.schemes[s]}', agent {a}{typical}."
    truth = motifs().descriptions[truth_of(result, a)]
    note = f"{who} True motif: {truth}." + (" Dashed: the last change of mind." if result.adoption_trial[s, a] >= 0 else "")
    page = plots.Page(0.3 + 2.9 + gap + 0.85 + gap + 1.0 + 0.5, _evidence_story(result, s, a), note)
    top = page.axes(left, 0.3, width, 2.9)
    _ratios(top, result, s, a)
    middle = page.axes(left, 0.3 + 2.9 + gap, width, 0.85)
    plots.wins_and_losses(result, s, a, ax=middle)
    middle.set_ylabel("wrong | right\nsteps")
    right = hits(result)[s, a]
    plots.title(middle, f"Answers: {right.sum()} of {len(right)} trials are answered right and never wrong")
    low = page.axes(left, 0.3 + 2.9 + gap + 0.85 + gap, width, 1.0)
    plots.series(result, "confidence", s, a, ax=low)
    low.lines[0].set_color(look(result, s)[0])
    low.yaxis.set_major_locator(MaxNLocator(3, steps=STEPS))
    plots.title(low, low.get_title(loc="left").replace("\n", " ").replace(" a trial", " nats a trial", 1))
    for ax in (top, middle):
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
    page.figure.align_ylabels([top, middle, low])
    return page.figure


def log_ratios(result: Result, s: int, agent: int) -> np.ndarray:
    """Log evidence ratio of every motif against none ``(trial, motif)``, nats; nan before the first sleep."""
    p, best = result.model_posterior[s, agent], result.best_model[s, agent]
    with np.errstate(divide="ignore", invalid="ignore"):
        # relative to the best one: what the posterior leaves to none is lost in rounding once that is certain
        lead = np.log(p) - np.log(p[np.arange(len(p)), np.maximum(best, 0)])[:, None]
        out = result.log_odds[s, agent][:, None] + lead
    return np.where((best >= 0)[:, None] & np.isfinite(out), out, np.nan)


def _ratios(ax: Axes, result: Result, s: int, agent: int) -> None:
    ratios, truth = log_ratios(result, s, agent), truth_of(result, agent)
    trials, dot = np.arange(1, len(ratios) + 1), "o" if len(ratios) == 1 else ""
    for j in np.flatnonzero(np.arange(ratios.shape[1]) != truth):
        ax.plot(trials, ratios[:, j], color="#9A9A9A", linewidth=0.7, marker=dot, markersize=2.5, alpha=0.75, zorder=1)
    ax.plot(trials, ratios[:, truth], color=plots.PALETTE["blue"], linewidth=2.2, marker=dot, markersize=5, zorder=3)
    ax.axhline(WINDOW, color=plots.PALETTE["vermilion"], linewidth=1.1)
    ax.axhline(0, color="#555555", linewidth=0.7)
    known = np.isfinite(ratios)
    low, high = (ratios[known].min(), ratios[known].max()) if known.any() else (0.0, 0.0)
    low, high = min(float(low), 0.0), max(float(high), WINDOW)
    low = max(low, -1.5 * high)  # motifs that are refuted fall far below; where they end is of no interest
    ax.set_ylim(low - 0.06 * (high - low), high + 0.2 * (high - low))
    for y, words, paint in ((WINDOW, f"Occam's window: {WINDOW:g}", plots.PALETTE["vermilion"]), (0, "no motif", "#555555")):
        ax.annotate(words, (1.0, y), (4, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points", va="center",
                    color=paint, fontsize=8.5, annotation_clip=False)  # fmt: skip
    when = int(result.adoption_trial[s, agent]) + 1
    if when:
        ax.axvline(when + 0.5, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=2)
    _trials(ax, result)
    ax.set_ylabel("log evidence ratio (nats)")
    handles = [Line2D([], [], color=plots.PALETTE["blue"], linewidth=2.2), Line2D([], [], color="#9A9A9A", linewidth=0.8)]
    ax.legend(handles, ["the true motif", f"the {ratios.shape[1] - 1} others"], loc="upper left")
    mine, others = ratios[-1, truth], np.nanmax(np.delete(ratios[-1], truth)) if known[-1].any() else np.nan
    words = f"the true one ends at {_number(mine, '.1f')} nats, the best other at {_number(others, '.1f')}"
    plots.title(ax, f"Evidence for each motif, compared with none: {words}")


def _evidence_story(result: Result, s: int, agent: int) -> str:
    when = int(aha_trial(result)[s, agent]) + 1
    if not when:
        return f"The true motif is not found in {result.sizes['trial']} trials"
    right = hits(result)[s, agent]
    after = f", {right[when:].sum()} of {len(right) - when} after it" if when < len(right) else ""
    return f"Aha after trial {when}: {right[:when].sum()} of {when} trials are answered right until then{after}"


def instruction(result: Result) -> Figure:
    """What it is worth to be told the motif: instructed against naive agents by trial, and the paired difference."""
    missing = [name for name in ("instructed", "naive") if name not in result.schemes]
    if missing:
        raise ValueError(f"result must hold the schemes 'instructed' and 'naive'; it lacks {missing}")
    told, naive = result.index("instructed"), result.index("naive")
    left, gap, tall, low, line = 0.82, 0.95, 1.8, 1.2, 0.55
    each = (9.0 - left - 0.2 - gap) / 2
    head = _compare(result, "instructed")
    page = plots.Page(0.35 + tall + line + low + 0.55, head, _note(result))
    for k, measure in enumerate(("right", "free_energy")):
        ax = page.axes(left + k * (each + gap), 0.35, each, tall)
        by_trial(ax, result, measure, [told, naive])
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
        plots.title(ax, _early_and_late(result, measure, {"instructed": told, "naive": naive}))
        if k == 0:
            ax.legend(loc="lower right")
        values = measured(result, measure)[told] - measured(result, measure)[naive]
        ax = page.axes(left + k * (each + gap), 0.35 + tall + line, each, low)
        curve(ax, values, INK)
        ax.axhline(0, color="#555555", linewidth=0.7)
        _trials(ax, result)
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
        unit = MEASURES[measure][2]
        ax.set_ylabel("paired difference\n" + (f"({unit} of agents)" if unit else "(nats per trial)"))
        form, n = ("+.0f", "+.2f")[k], _window(result)
        words = f"{_pm(values[:, :n].mean(axis=1), form)}{unit} in {_first(n)}"
        if n < result.sizes["trial"]:
            words += f", {_pm(values[:, -n:].mean(axis=1), form)}{unit} in {_last(result, n)}"
        plots.title(ax, f"Instructed − naive: {words}")
    page.figure.align_ylabels(page.figure.axes)
    return page.figure


def _early_and_late(result: Result, measure: str, schemes: dict[str, int]) -> str:
    values, n, (name, _, unit) = measured(result, measure), _window(result), MEASURES[measure]
    form = ".0f" if unit else ".2f"
    if n == result.sizes["trial"]:
        words = ", ".join(f"{w} {_number(values[s].mean(), form)}{unit}" for w, s in schemes.items())
        return f"{name.capitalize()}: {words}"
    words = ", ".join(
        f"{w} {_number(values[s, :, :n].mean(), form)} → {_number(values[s, :, -n:].mean(), form)}{unit}"
        for w, s in schemes.items()
    )
    return f"{name.capitalize()}, {_first(n)} → {_last(result, n).removeprefix('trials ')}: {words}"


def summary(result: Result, scheme: str | int = "sleep") -> Figure:
    """Right answers, free energy and confidence by trial under all schemes; aha moments under one of them that sleeps."""
    s = result.index(scheme)
    left, width, tall, gap, right = 0.82, 4.55, 1.45, 0.55, 2.85
    height = 0.42 + 3 * tall + 2 * gap
    page = plots.Page(height + 0.85, _summary_story(result, s), _note(result))
    drawn = []
    for k, measure in enumerate(MEASURES):
        ax = page.axes(left, 0.42 + k * (tall + gap), width, tall)
        by_trial(ax, result, measure)
        drawn.append(ax)
        if k < 2:
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
    drawn[0].legend(loc="lower right")
    page.figure.align_ylabels(drawn)
    x, low = 9.0 - right - 0.15, 1.0
    ax = page.axes(x, 0.42, right, height - 0.42 - low - 0.55)
    raster(ax, result, s)
    ax.set_xlabel("")
    ax.tick_params(labelbottom=False)
    aha_bars(page.axes(x, height - low, right, low), result, s)
    keys = raster_keys(result, [s])
    narrow = {"ncols": len(keys), "columnspacing": 1.2, "handlelength": 1.0}
    page.figure.legend(handles=keys, loc="lower right", bbox_to_anchor=(0.99, 0.0), **narrow)
    return page.figure


def _summary_story(result: Result, s: int) -> str:
    when = aha_trial(result)[s]
    found = when[when >= 0] + 1
    share = hits(result).mean(axis=(1, 2))
    means = ", ".join(f"{name} {100 * share[k]:.0f}%" for k, name in enumerate(result.schemes))
    if not len(found):
        return f"Trials answered right: {means}"
    return f"Sleep finds the true motif after {np.median(found):g} trials (median); answered right: {means}"


# --- lives ---------------------------------------------------------------------------------------------------------------
def life(n_agents: int = 32, n_trials: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray, int]:
    """A typical life with sleep: outcomes ``(trial, time, modality)``, controls ``(trial, time, factor)``, and the trial (from
    0) after which its agent has the aha moment, the first time that it adopts anything.
    """
    result = simulate(paradigm("sleep"), n_agents=n_agents, n_trials=n_trials, seed=seed, trace=True)
    when = aha_trial(result)[0]
    once = (when >= 0) & (result.adoption_trial[0] == when) & ((result.log_odds[0] >= WINDOW).argmax(axis=1) == when)
    if not once.any():
        raise ValueError(f"n_agents must be enough for one agent to adopt the true motif first and last; got {n_agents}")
    gap = np.where(once, np.abs(when - np.median(when[when >= 0])), np.inf)
    rows = plots.record(result, 0, int(gap.argmin()))
    return rows["outcomes"], rows["controls"], int(when[gap.argmin()])


def relived(scheme: str, outcomes: np.ndarray, controls: np.ndarray) -> tuple[Agent, AgentState]:
    """An agent of a scheme that has lived through some trials, and its state between trials."""
    agent = paradigm(scheme).agent
    state = agent.init()
    for seen, done in zip(outcomes, controls, strict=True):
        for o, c in zip(seen, done, strict=True):
            state, _ = agent.step(state, o, action=c)
        state, _ = agent.end_trial(state)
    return agent, state


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw what a result shows into a folder, which is made if it is not there.

    Always ``performance.png``; ``aha.png`` and ``evidence.png`` if a scheme sleeps; ``instruction.png`` if instructed and naive
    agents are there.

    Returns:
        the files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with plots.style():
        drawn = {"performance.png": performance(result)}
        if sleeping(result):
            drawn |= {"aha.png": ahas(result), "evidence.png": evidence(result)}
        if {"instructed", "naive"} <= set(result.schemes):
            drawn["instruction.png"] = instruction(result)
        return [plots.save(figure, folder / name) for name, figure in drawn.items()]
