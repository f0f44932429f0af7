"""Figures of the three-ball paradigm: one trial, one agent, all schemes. Only the public API of activebmr is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, FancyBboxPatch

from activebmr import Result, plots
from paradigms.three_ball import BALLS, COLOURS, rules, world_model

__all__ = ["draw_balls", "figures", "model_posterior", "one_agent", "one_trial", "schemes"]

WIDTH = 9.0  # inches
FILL = {"red": "#D1402A", "green": "#009E73", "blue": "#0072B2"}
INK = plots.PALETTE["black"]


class _Page:
    """A figure on which axes are placed in inches from the left and from the top."""

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH, height))

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        return self.figure.add_axes((left / WIDTH, 1 - (top + height) / self.height, width / WIDTH, height / self.height))

    def heading(self, text: str, below: str = "", left: float = 0.15) -> None:
        points = (WIDTH - left - 0.15) * 72
        first = plots.wrap(text, points, 11.5, "bold")
        place = {"ha": "left", "va": "top", "linespacing": 1.25, "parse_math": False}
        self.figure.text(left / WIDTH, 1 - 0.12 / self.height, first, fontsize=11.5, fontweight="bold", **place)
        down = 0.12 + 0.21 * (first.count("\n") + 1)
        second = plots.wrap(below, points, 8.5)
        self.figure.text(left / WIDTH, 1 - down / self.height, second, fontsize=8.5, color="#444444", **place)


# --- one trial -----------------------------------------------------------------------------------------------------------
def draw_balls(
    ax: Axes,
    colours: Sequence[int],
    gaze: int,
    choice: int,
    feedback: int = 0,
    seen: Sequence[bool] = (True, True, True),
    x: float = 0.0,
) -> None:
    """One moment: the three balls side by side around ``x`` (0.9 wide), gaze and answer. Pale balls were not seen yet."""
    for k, colour in enumerate(colours):
        at, name = (x + (k - 1) * 0.3, 0.0), COLOURS[colour]
        ax.add_patch(Circle(at, 0.115, facecolor=FILL[name], alpha=1.0 if seen[k] else 0.22, linewidth=0))
        ax.add_patch(Circle(at, 0.115, fill=False, edgecolor=FILL[name], linewidth=0.9))
        letter = "white" if seen[k] else FILL[name]
        ax.text(*at, name[0].upper(), color=letter, ha="center", va="center_baseline", fontsize=9, fontweight="bold")
        if k == gaze:
            ax.add_patch(Circle(at, 0.15, fill=False, edgecolor=INK, linewidth=1.6))
            _eye(ax, at[0], 0.235)
    if gaze >= len(BALLS):
        ax.text(x, 0.235, "no ball", ha="center", va="center", fontsize=7.5, color="#666666")
    box = {"boxstyle": "round,pad=0,rounding_size=0.05", "linewidth": 0.9}
    chip = (x - 0.14, -0.36)
    if choice < len(COLOURS):
        name = COLOURS[choice]
        ax.add_patch(FancyBboxPatch(chip, 0.28, 0.13, facecolor=FILL[name], edgecolor=FILL[name], **box))
        ax.text(x, -0.298, name, color="white", ha="center", va="center_baseline", fontsize=8, fontweight="bold")
    else:
        ax.add_patch(FancyBboxPatch(chip, 0.28, 0.13, fill=False, edgecolor="#AAAAAA", linestyle=(0, (2, 2)), **box))
    if feedback:
        word, paint = (("✓ right", INK), ("✗ wrong", plots.PALETTE["vermilion"]))[feedback - 1]
        ax.text(x, -0.48, word, ha="center", va="center", fontsize=8, color=paint)


def _eye(ax: Axes, x: float, y: float) -> None:
    ax.add_patch(Ellipse((x, y), 0.13, 0.068, facecolor="white", edgecolor=INK, linewidth=1.0))
    ax.add_patch(Circle((x, y), 0.024, facecolor=INK, linewidth=0))


def one_trial(result: Result, scheme: str | int = 0, agent: int = 0, trial: int = 0) -> Figure:
    """One trial step by step, from a result of ``simulate(..., trace=True)``: what happened, beliefs, policies, confidence."""
    model, where = world_model(), {"scheme": scheme, "agent": agent, "trial": trial}
    rows = {name: array[trial] for name, array in plots.record(result, scheme, agent).items()}
    states, seen = rows["states"], rows["outcomes"]
    n_times, left, width = len(states), 1.45, 6.75
    page = _Page(10.75)
    truth = result.true_model[agent] if result.true_model.ndim else result.true_model
    page.heading(_story(states, seen), f"The true rule: {rules().descriptions[int(truth)]}.")

    ax = page.axes(left, 0.72, width, width / n_times * 0.86)
    looked = np.array([(states[: t + 1, 3, None] == np.arange(3)).any(axis=0) for t in range(n_times)])
    for t in range(n_times):
        draw_balls(ax, states[t, :3], states[t, 3], states[t, 4], seen[t, 2], looked[t], t + 1.0)
    ax.set(xlim=(0.5, n_times + 0.5), ylim=(-0.55, 0.31), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    for y, word in ((0.235, "looks at"), (0.0, "balls\n(pale: not\nyet seen)"), (-0.298, "answers"), (-0.48, "feedback")):
        ax.text(0.42, y, word, ha="right", va="center", fontsize=8)

    top = 0.72 + width / n_times * 0.86 + 0.42
    ax = plots.outcomes(result, model, **where, ax=page.axes(left, top, width, 0.6))
    plots.title(ax, f"Outcomes: {(seen[:, 2] == 1).sum()} times right, {(seen[:, 2] == 2).sum()} times wrong")
    _no_times(ax)

    top += 0.6 + 0.42
    first = top
    for f, name in enumerate(model.labels["factor"]):
        height = 0.15 * model.num_states[f]
        ax = plots.beliefs(result, model, name, **where, ax=page.axes(left, top, width, height))
        ax.set_title("")
        _no_times(ax)
        _side_label(ax, f"{name} ball" if name in BALLS else name)
        if f == 0:
            plots.title(ax, _beliefs_say(rows))
        top += height + 0.07
    _scale(page, ax, left + width + 0.2, first, 1.35)

    top += 0.35
    ax = plots.policies(result, model, **where, ax=page.axes(left, top, width, 16 * 0.145))
    plots.title(ax, _policies_say(rows))
    _no_times(ax)
    ax.set_ylabel("")
    ax.set_yticks(range(16), [names.split(", ")[0] for names in plots.policy_names(model)], fontsize=7.5)
    ax.hlines([3.5, 7.5, 11.5], 0.5, n_times + 0.5, color=INK, linewidth=0.7)
    for c, name in enumerate(model.labels["controls"]["choice"]):
        words = "look, no\nanswer" if name == "undecided" else f"look and\nanswer\n{name}"
        ax.text(-0.115, 4 * c + 1.5, words, transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize=8)

    top += 16 * 0.145 + 0.42
    ax = plots.confidence(result, **where, ax=page.axes(left, top, width, 0.85))
    ax.set_ylabel("nats")
    plots.title(ax, _confidence_says(rows))
    return page.figure


def _no_times(ax: Axes) -> None:
    ax.set_xlabel("")
    ax.set_xticks([])


def _side_label(ax: Axes, text: str) -> None:
    ax.set_ylabel("")
    ax.text(-0.115, 0.5, text, transform=ax.transAxes, ha="right", va="center", fontsize=8.5)


def _scale(page: _Page, ax: Axes, left: float, top: float, height: float) -> None:
    bar = page.figure.colorbar(ax.images[0], cax=page.axes(left, top, 0.11, height), ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0", "0.5", "1"])
    bar.set_label("probability")
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(length=2)


def _story(states: np.ndarray, seen: np.ndarray) -> str:
    """The trial in a sentence: where the agent looked before it first answered, and what came of it."""
    answered = np.flatnonzero(states[:, 4] < len(COLOURS))
    until = answered[0] if len(answered) else len(states)
    looks = [f"the {BALLS[g]} ball ({COLOURS[s[g]]})" for s, g in zip(states[:until], states[:until, 3], strict=True) if g < 3]
    looked = f"It looks at {', then at '.join(looks)}" if looks else "It looks at no ball"
    if not len(answered):
        return looked + " and does not answer"
    answers = list(dict.fromkeys(COLOURS[c] for c in states[answered, 4] if c < len(COLOURS)))
    right, wrong = (seen[:, 2] == 1).sum(), (seen[:, 2] == 2).sum()
    return f"{looked}, and answers {', '.join(answers)}: {right} times right, {wrong} times wrong"


def _beliefs_say(rows: dict[str, np.ndarray]) -> str:
    parts = []
    for f, name in enumerate(BALLS):
        qs, true = rows[f"qs_{name}"], rows["states"][:, f]
        unsure = np.flatnonzero(qs[np.arange(len(true)), true] < 0.95)
        if len(unsure) == 0:
            parts.append(f"{name} always")
        elif unsure[-1] + 1 < len(true):
            parts.append(f"{name} from time {unsure[-1] + 2}")
    known = f"knows the colours {', '.join(parts)}" if parts else "knows no colour for sure"
    return f"Beliefs: it {known} (rings: the true states)"


def _policies_say(rows: dict[str, np.ndarray]) -> str:
    answers = rows["q_pi"].reshape(len(rows["q_pi"]), 4, 4).sum(axis=2)[:, :3]
    best = int(answers.max(axis=0).argmax())
    held = np.flatnonzero(answers[:, best] > 0.5)
    note = "(rings: what it does next)"
    if not len(held):
        return f"Policies: no answer ever has a probability above 0.5 {note}"
    return f"Policies: from time {held[0] + 1} answering {COLOURS[best]} has a probability above 0.5 {note}"


def _confidence_says(rows: dict[str, np.ndarray]) -> str:
    values = rows["confidence"]
    t = int(values.argmax())
    left = f"{np.exp(-values[t]):.1f} of 16 policies are left in the running"
    return f"Confidence (negative entropy of the policies) is highest at time {t + 1}: {left}"


# --- one agent -----------------------------------------------------------------------------------------------------------
def typical_agent(result: Result, scheme: str | int = 0) -> int:
    """The agent whose discovery time is nearest to the median of its scheme (the first of them)."""
    times = result.discovery_trials[result.index(scheme)]
    return int(np.abs(times - np.median(times)).argmin())


def has_hypotheses(result: Result, scheme: str | int) -> bool:
    return bool(np.isfinite(result.model_posterior[result.index(scheme)]).any())


def one_agent(result: Result, scheme: str | int = 0, agent: int = 0) -> Figure:
    """All trials of one agent: success, confidence and divergence; log odds and posterior over rules if it has hypotheses;
    and the learned likelihood beside the true one if the result has a trace."""
    s = result.index(scheme)
    learned = "pA_feedback" in result.trace
    reasons = has_hypotheses(result, s)
    left, width = 0.75, 4.65 if learned else 7.6
    heights = [1.0, 0.8, 0.8] + ([1.3, 2.3] if reasons else [])
    page = _Page(0.85 + sum(heights) + 0.5 * len(heights))
    truth = int(result.true_model[agent] if result.true_model.ndim else result.true_model)
    adopted, when = int(result.adopted_model[s, agent]), int(result.adoption_trial[s, agent]) + 1
    if not reasons:
        story = f"An agent of the scheme '{result.schemes[s]}' over {result.sizes['trial']} trials"
    elif adopted < 0:
        story = f"No insight: this agent adopts no rule within {result.sizes['trial']} trials"
    else:
        kind = "true" if result.adopted_truth[s, agent] else "wrong"
        story = (
            f"Insight: after trial {when} this agent adopts the {kind} rule, {adopted} of 0 to {len(result.model_names) - 1}"
        )
    page.heading(story, f"The true rule, {truth}: {result.model_names[truth]}." if truth >= 0 else "")

    top, drawn = 0.85, []
    for height in heights:
        drawn.append(page.axes(left, top, width, height))
        top += height + 0.5
    plots.wins_and_losses(result, s, agent, ax=drawn[0])
    plots.series(result, "confidence", s, agent, ax=drawn[1])
    drawn[1].set_ylabel("nats")
    plots.series(result, "kl_to_truth", s, agent, ax=drawn[2])
    drawn[2].set_ylabel("nats")
    kl = result.kl_to_truth[s, agent]
    plots.title(drawn[2], f"KL divergence of what it believes from the truth: from {kl[0]:.0f} to {kl[-1]:.2g}")
    if reasons:
        plots.log_odds(result, s, agent, ax=drawn[3])
        ax = plots.model_posterior(result, s, agent, bar=False, ax=drawn[4])
        ax.set_ylabel("rule")
        plots.title(ax, _posterior_says(result, s, agent, truth))
    for ax in drawn[:-1]:
        ax.set_xlabel("")
    if learned:
        _likelihoods(page, result, s, agent, truth, when)
    return page.figure


def _posterior_says(result: Result, s: int, agent: int, truth: int) -> str:
    held = result.model_posterior[s, agent]
    left = (held > 0.01).sum(axis=1)
    half = max(1, len(held) // 4)
    return f"{left[0]} rules have p > 0.01 after trial 1, {left[half - 1]} after trial {half}; the true one ends with {held[-1, truth]:.2g}"


def _likelihoods(page: _Page, result: Result, s: int, agent: int, truth: int, when: int) -> None:
    """P(right | colours, gaze, answer) as learned before and after insight, and the true one."""
    model, counts = world_model(), plots.record(result, s, agent)["pA_feedback"]
    last = len(counts)
    tables = []
    if 0 < when < last:
        tables = [(counts[when - 1], f"learned in trials 1 to {when}"), (counts[when], "one trial after insight")]
    else:
        tables = [(counts[0], "learned in trial 1"), (counts[-1], f"learned in trials 1 to {last}")]
    true = rules().dense(truth, 2)
    tables.append((true, "the truth"))
    top, room = 0.85, (page.height - 0.85 - 0.5) / 3
    for counts_, words in tables:
        ax = page.axes(6.35, top, 2.1, room - 0.55)
        order = {"rows": ["centre", "left", "right"], "columns": ["choice", "gaze"]}
        plots.likelihood(counts_, model, "feedback", "right", **order, ax=ax)
        plots.title(ax, words)
        ax.set(ylabel="centre ball", xlabel="answer")
        if words == "the truth":
            _scale(page, ax, 8.6, top, room - 0.55)
        top += room


# --- all agents ----------------------------------------------------------------------------------------------------------
def schemes(result: Result) -> Figure:
    """All agents of all schemes: cumulative score over trials, a paired comparison, discovery time and score."""
    names = result.schemes
    across = min(3, len(names))
    down = -(-len(names) // across)
    left, gap, tall = 0.65, 0.3, 1.55
    each = (WIDTH - left - 0.2 - gap * (across - 1)) / across
    low_top = 0.75 + down * (tall + 0.55) + 0.1
    low = max(1.5, 0.75 + 0.3 * len(names))
    page = _Page(low_top + low + 0.55)
    page.heading(*_schemes_say(result))
    net = np.cumsum(result.wins - result.losses, axis=2)
    limits = (net.min() - 3, net.max() + 3)
    for s in range(len(names)):
        row, column = divmod(s, across)
        ax = page.axes(left + column * (each + gap), 0.75 + row * (tall + 0.55), each, tall)
        plots.trajectories(result, "net_wins", s, cumulative=True, highlight=result.adopted_wrong[s], ax=ax)
        ax.set_ylim(limits)
        ax.set_ylabel("cumulative score" if column == 0 else "")
        ax.set_xlabel("trial" if s + across >= len(names) else "")
        if column:
            ax.tick_params(labelleft=False)
    _comparisons(page, result, low_top, low)
    return page.figure


def _schemes_say(result: Result) -> tuple[str, str]:
    return "", ""


def _comparisons(page: _Page, result: Result, top: float, height: float) -> None:
    names = result.schemes
    pair = ("paper", "paper-states") if {"paper", "paper-states"} <= set(names) else tuple(names[:2])
    left = 0.65
    if len(names) > 1:
        size = min(height, 2.3)
        ax = page.axes(left, top, size, size)
        plots.paired_scatter(result, "score", *pair, ax=ax)
        left += size + 1.5
    width = (WIDTH - left - 0.2 - 0.3) / 2
    for k, measure in enumerate(("discovery_trials", "score")):
        ax = page.axes(left + k * (width + 0.3), top, width, height)
        plots.histogram(result, measure, ax=ax)
        if k:
            ax.set_yticks([])


def model_posterior(result: Result) -> Figure:
    """Posterior of the true rule in all agents of every scheme that has hypotheses."""
    chosen = [s for s in range(len(result.schemes)) if has_hypotheses(result, s)]
    across = min(3, len(chosen))
    down = -(-len(chosen) // across)
    left, gap, tall = 0.65, 0.35, 2.3
    each = (WIDTH - left - 0.95 - gap * (across - 1)) / across
    page = _Page(0.75 + down * (tall + 0.6) + 0.1)
    for k, s in enumerate(chosen):
        row, column = divmod(k, across)
        ax = page.axes(left + column * (each + gap), 0.75 + row * (tall + 0.6), each, tall)
        plots.insight(result, s, bar=False, ax=ax)
        if column:
            ax.set_ylabel("")
        ax.set_xlabel("trial" if k + across >= len(chosen) else "")
    _scale(page, ax, WIDTH - 0.75, 0.75, tall)
    return page.figure


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw what a result shows into a folder, which is made if it is not there.

    Always ``schemes.png`` (all agents of all schemes) and ``one_agent.png`` (a typical agent of the first scheme that has hypotheses, or
    else of the first one); ``model_posterior.png`` (all agents' posterior of the true rule) if any scheme has hypotheses.

    Returns:
        the files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    reasoning = [s for s in range(len(result.schemes)) if has_hypotheses(result, s)]
    scheme = reasoning[0] if reasoning else 0
    written = []
    with plots.style():
        drawn = {"schemes.png": schemes(result), "one_agent.png": one_agent(result, scheme, typical_agent(result, scheme))}
        if reasoning:
            drawn["model_posterior.png"] = model_posterior(result)
        for name, figure in drawn.items():
            figure.savefig(folder / name)
            written.append(folder / name)
    return written
