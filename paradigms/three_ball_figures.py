"""Figures of the three-ball paradigm: one trial, one agent, all schemes, discovery; with the public API of activebmr alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, FancyBboxPatch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from activebmr import Result, plots
from activebmr.paradigms.three_ball import BALLS, COLOURS, rules, world_model

__all__ = [
    "discovery",
    "draw_balls",
    "figures",
    "model_posterior",
    "one_agent",
    "one_trial",
    "reasoning_trial",
    "schemes",
    "typical_agent",
]

FILL = {"red": "#D1402A", "green": "#009E73", "blue": "#0072B2"}
NOTES = {
    "reasoning": "exact beliefs and gains",
    "laboratory": "as reasoning, but sets the balls",
    "clairvoyant": "as reasoning, but is told all colours",
    "paper": "all gains, plug-in",
    "paper-exact": "exact gain about models",
    "paper-no-model": "no gain about models",
    "paper-states": "gain about states alone",
    "paper-none": "no gain: random until it adopts a rule",
    "paper-no-selection": "never adopts a rule",
    "knowing": "knows the rule",
}
SHADE_TICKS = (0, 0.01, 0.1, 0.3, 1)
INK = plots.PALETTE["black"]


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
    chip = (x - 0.19, -0.363)
    if choice < len(COLOURS):
        name = COLOURS[choice]
        ax.add_patch(FancyBboxPatch(chip, 0.38, 0.13, facecolor=FILL[name], edgecolor=FILL[name], **box))
        ax.text(x, -0.298, name, color="white", ha="center", va="center_baseline", fontsize=8, fontweight="bold")
    else:
        ax.add_patch(FancyBboxPatch(chip, 0.38, 0.13, fill=False, edgecolor="#AAAAAA", linestyle=(0, (2, 2)), **box))
    if feedback:
        word, paint = (("✓ right", INK), ("✗ wrong", plots.PALETTE["vermilion"]))[feedback - 1]
        ax.text(x, -0.48, word, ha="center", va="center", fontsize=8, color=paint)


def _eye(ax: Axes, x: float, y: float) -> None:
    ax.add_patch(Ellipse((x, y), 0.13, 0.068, facecolor="white", edgecolor=INK, linewidth=1.0))
    ax.add_patch(Circle((x, y), 0.024, facecolor=INK, linewidth=0))


def one_trial(result: Result, scheme: str | int = 0, agent: int = 0, trial: int = 0) -> Figure:
    """One trial step by step, from a result of ``simulate(..., trace=True)``: what happened, beliefs, policies, confidence."""
    model, where = world_model(), {"scheme": scheme, "agent": agent, "trial": trial}
    rows = plots.record(result, scheme, agent)
    if not 0 <= trial < len(rows["policy"]):
        raise ValueError(f"trial must lie in 0..{len(rows['policy']) - 1}; got {trial}")
    rows = {name: array[trial] for name, array in rows.items()}
    n_times, left, width = len(rows["states"]), 1.64, 6.52
    who = f"Scheme '{result.schemes[result.index(scheme)]}', agent {agent}, trial {trial + 1}."
    story = _story(rows)
    if result.schemes[result.index(scheme)] == "knowing":
        story = "Knowing the rule, it" + story.removeprefix("It").partition(":")[0]
    page = plots.Page(9.7, story, f"{who} True rule: {rules().descriptions[_truth(result, agent)]}.")

    top, height = 0.0, width / n_times * 0.98
    _strip(page.axes(left, top, width, height), rows)
    top += height + 0.36
    ax = plots.outcomes(result, model, **where, ax=page.axes(left, top, width, 0.58))
    plots.title(ax, "Outcomes: what it sees, where it looks, what it is told")
    _no_times(ax)

    top += 0.58 + 0.36
    first = top
    for f, name in enumerate(model.labels["factor"]):
        height = 0.15 * model.num_states[f]
        ax = plots.beliefs(result, model, name, **where, ax=page.axes(left, top, width, height))
        plots.title(ax, _beliefs_say(rows) if f == 0 else "")
        _no_times(ax)
        ax.set_ylabel("")
        _beside(ax, 0.5, f"{name} ball" if name in BALLS else name)
        top += height + 0.07
    page.scale(ax, left + width + 0.2, first, 1.49, "probability")

    top += 0.29
    ax = plots.policies(result, model, **where, numbers=True, ax=page.axes(left, top, width, 16 * 0.145))
    plots.title(ax, _policies_say(rows))
    _no_times(ax)
    ax.set_ylabel("")
    ax.set_yticks(range(16), [names.split(", ")[0] for names in plots.policy_names(model)], fontsize=7.5)
    ax.hlines([3.5, 7.5, 11.5], 0.5, n_times + 0.5, color=INK, linewidth=0.7)
    for c, name in enumerate(model.labels["controls"]["choice"]):
        _beside(ax, 0.875 - 0.25 * c, "look, do\nnot answer" if name == "undecided" else f"look and\nanswer {name}")

    top += 16 * 0.145 + 0.36
    ax = plots.confidence(result, **where, ax=page.axes(left, top, width, 0.85))
    ax.set(ylabel="nats", yticks=[0, -1, -2])
    plots.title(ax, _confidence_says(rows))
    return page.figure


def _truth(result: Result, agent: int) -> int:
    return int(result.true_model[agent] if result.true_model.ndim else result.true_model)


def _strip(ax: Axes, rows: dict[str, np.ndarray]) -> None:
    """What happened at each time of a trial, in pictures."""
    states, n_times = rows["states"], len(rows["states"])
    for t in range(n_times):
        looked = (states[: t + 1, 3, None] == np.arange(len(BALLS))).any(axis=0)
        draw_balls(ax, states[t, :3], states[t, 3], states[t, 4], rows["outcomes"][t, 2], looked, t + 1.0)
        ax.text(t + 1, 0.38, f"time {t + 1}", ha="center", va="center", fontsize=8.5, fontweight="bold")
    ax.vlines(np.arange(1.5, n_times), -0.55, 0.43, color="#DDDDDD", linewidth=0.7)
    ax.set(xlim=(0.5, n_times + 0.5), ylim=(-0.55, 0.43), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    for y, word in ((0.235, "looks at"), (0.0, "the balls (pale:\nnot seen yet)"), (-0.298, "answers"), (-0.48, "is told")):
        ax.text(0.44, y, word, ha="right", va="center", fontsize=8.5)


def _no_times(ax: Axes) -> None:
    ax.set_xlabel("")
    ax.set_xticks([])


def _beside(ax: Axes, y: float, text: str) -> None:
    """Words at the left of the names of the rows."""
    ax.text(-0.105, y, text, transform=ax.transAxes, ha="right", va="center", fontsize=8.5)


def _story(rows: dict[str, np.ndarray]) -> str:
    """The trial in a sentence: where the agent looked before it first answered, and what came of it."""
    states, told = rows["states"], rows["outcomes"][:, 2]
    answered = np.flatnonzero(states[:, 4] < len(COLOURS))
    until = answered[0] if len(answered) else len(states)
    looks = [f"the {BALLS[g]} ball ({COLOURS[s[g]]})" for s, g in zip(states[:until], states[:until, 3], strict=True) if g < 3]
    looked = (
        f"It looks at {', then '.join([*looks[:1], *(w.replace(' ball', '') for w in looks[1:])])}"
        if looks
        else "It looks at no ball"
    )
    if not len(answered):
        return looked + " and does not answer"
    answers = list(dict.fromkeys(COLOURS[c] for c in states[answered, 4] if c < len(COLOURS)))
    return f"{looked}, and answers {', '.join(answers)}: {(told == 1).sum()} of {(told > 0).sum()} right"


def _beliefs_say(rows: dict[str, np.ndarray]) -> str:
    parts = []
    for f, name in enumerate(BALLS):
        qs, true = rows[f"qs_{name}"], rows["states"][:, f]
        unsure = np.flatnonzero(qs[np.arange(len(true)), true] < 0.95)
        if len(unsure) == 0:
            parts.append(f"{name} always")
        elif unsure[-1] + 1 < len(true):
            parts.append(f"{name} from time {unsure[-1] + 2}")
    return f"Colours known: {', '.join(parts) if parts else 'none for sure'} (rings: true states)"


def _policies_say(rows: dict[str, np.ndarray]) -> str:
    answers = rows["q_pi"].reshape(len(rows["q_pi"]), 4, 4).sum(axis=2)[:, :3]
    best = int(answers.max(axis=0).argmax())
    held = np.flatnonzero(answers[:, best] > 0.5)
    note = "(rings: what it chooses to do next)"
    if not len(held):
        return f"Policies: no answer ever has a probability above 0.5 {note}"
    return f"Policies: from time {held[0] + 1} answering {COLOURS[best]} has a probability above 0.5 {note}"


def _confidence_says(rows: dict[str, np.ndarray]) -> str:
    values = rows["confidence"]
    t = int(values.argmax())
    left = f"{np.exp(-values[t]):.1f} of 16 policies are left in the running"
    return f"Confidence is highest at time {t + 1}: {left}"


# --- reasoning within one trial ------------------------------------------------------------------------------------------
def reasoning_trial(result: Result, scheme: str | int = 0, agent: int = 0, trial: int = 0) -> Figure:
    """Why an agent does what it does in one trial, from a result of ``simulate(..., trace=True)``: what happened, what every
    policy was expected to tell about balls and rules, and which rules are left."""
    model, where = world_model(), {"scheme": scheme, "agent": agent, "trial": trial}
    rows = plots.record(result, scheme, agent)
    if not 0 <= trial < len(rows["policy"]):
        raise ValueError(f"trial must lie in 0..{len(rows['policy']) - 1}; got {trial}")
    if "model_posterior" not in rows or not has_hypotheses(result, scheme):
        raise ValueError(
            "scheme must be one whose agents have hypotheses, which all schemes of the result must have for a trace"
        )
    rows = {name: array[trial] for name, array in rows.items()}
    truth, n_times, left, width = _truth(result, agent), len(rows["states"]), 1.68, 7.0
    column, tall, line = width / n_times, 16 * 0.155, 0.36
    who = f"Scheme '{result.schemes[result.index(scheme)]}', agent {agent}, trial {trial + 1}."
    page = plots.Page(
        column * 0.98 + tall + column + 0.95 + 3 * line + 1.0,
        _reasoning_story(rows),
        f"{who} True rule: {rules().descriptions[truth]}. Gain: what the next outcome is expected to tell, in nats; "
        "feedback about an answer tells which rules are wrong.",
    )
    _strip(page.axes(left, 0.0, width, column * 0.98), rows)

    top = column * 0.98 + line
    ax = plots.values(result, model, **where, numbers=True, legend=False, ax=page.axes(left, top, width, tall))
    plots.title(ax, _gains_say(rows))
    ax.set(ylabel="", xlabel="")
    ax.set_xticks([], minor=True)
    ax.set_yticks(range(16), [names.split(", ")[0] for names in plots.policy_names(model)], fontsize=7.5)
    ax.hlines([3.5, 7.5, 11.5], 0.5, n_times + 0.5, color=INK, linewidth=0.7)
    for c, name in enumerate(model.labels["controls"]["choice"]):
        _beside(ax, 0.875 - 0.25 * c, "look, do\nnot answer" if name == "undecided" else f"look and\nanswer {name}")
    ax.annotate(
        "nats", (1.0, 0.0), (0, -4.5), xycoords="axes fraction", textcoords="offset points", ha="right", va="top", fontsize=8
    )
    words = {"state": "gain about the balls' colours, I(S;O)", "model": "gain about the rules, I(M;O|S)"}
    place = {"loc": "upper left", "bbox_to_anchor": (-0.008, -0.085), "ncols": 3, "borderaxespad": 0.0}
    ax.legend(
        handles=plots.value_handles(result, **where, words=words), handlelength=1.1, columnspacing=2, fontsize=8.5, **place
    )

    top += tall + line + 0.5
    ax = page.axes(left, top, width, column)
    _rules_left(ax, rows["model_posterior"], truth)
    plots.title(ax, _rules_say(rows))

    top += column + line
    ax = plots.doubt(result, **where, ax=page.axes(left, top, width, 0.95))
    ax.set_ylabel("nats")
    plots.title(ax, "Entropy of the belief over rules (numbers: so many equally likely rules have this entropy)")
    return page.figure


def _left(belief: np.ndarray) -> np.ndarray:
    """How many equally likely rules have the entropy of these beliefs ``(..., 81)``."""
    return np.exp(-(belief * np.log(np.maximum(belief, 1e-300))).sum(axis=-1))


def _looks(rows: dict[str, np.ndarray]) -> np.ndarray:
    """At which times the gaze is at a ball for the first time."""
    gaze = rows["states"][:, 3]
    return np.array([g < len(BALLS) and g not in gaze[:t] for t, g in enumerate(gaze)])


def _reasoning_story(rows: dict[str, np.ndarray]) -> str:
    new, answers = _looks(rows), rows["states"][:, 4] < len(COLOURS)
    left = _left(rows["model_posterior"])
    before, after = f"{left[0]:.0f}", f"{left[-1]:.0f}"
    still = f"{before} rules shrink to {after}" if after != before else f"{before} rules are left as before"
    if new.sum() == len(BALLS) and answers[new].all():
        return f"Looking at a new ball each time while trying an answer: {still} in one trial"
    return f"Looks at {new.sum()} of {len(BALLS)} balls, {answers.sum()} answers: {still} in one trial"


def _gains_say(rows: dict[str, np.ndarray]) -> str:
    total = (rows["state_info_gain"] + rows["model_info_gain"])[:-1]
    chosen = total[np.arange(len(total)), rows["policy"][:-1]]
    if total.max() < 0.005:
        return "Nothing to gain"
    done = [t for t in range(len(total)) if total[t:].max() < 0.005]
    until = done[0] if done else len(total)
    best = (chosen >= total.max(axis=1) - 1e-6)[:until]
    what = "What it does next (grey) has the largest gain"
    head = f"{what}, ties by lot" if best.all() else f"{what} {best.sum()} times of {until}"
    return head + (f"; from time {until + 1} nothing is left to gain" if done else "")


def _rules_say(rows: dict[str, np.ndarray]) -> str:
    """How many rules keep a probability that is not negligible beside the best one's."""
    belief = rows["model_posterior"]
    alive = (belief > 0.01 * belief.max(axis=1, keepdims=True)).sum(axis=1)
    gone = "" if alive[-1] == alive[0] else f", {alive[-1]} in the end"
    return f"The {belief.shape[1]} rules, darker if likelier: {alive[0]} in the running at first{gone} (orange: the true rule)"


def _rules_left(ax: Axes, belief: np.ndarray, truth: int) -> None:
    """At every time a square for each of the 81 rules, darker if it is likelier; three rows for each ball that decides."""
    n_times, size = len(belief), 0.092
    norm = PowerNorm(0.5, vmin=0.0, vmax=float(belief.max()))
    context, mapping = np.arange(belief.shape[1]) % 3, np.arange(belief.shape[1]) // 3
    x, y = (mapping % 9 - 4) * size, (3.55 * context + mapping // 9) * size
    shape = belief.shape
    at = np.arange(1, n_times + 1)[:, None] + x
    corner = {"s": 40, "marker": "s", "linewidths": 0.5, "edgecolors": "#C8D4E0"}
    ax.scatter(at, np.broadcast_to(y, shape), c=belief, cmap="Blues", norm=norm, **corner)
    frame = corner | {"s": 62, "linewidths": 2.0, "edgecolors": plots.PALETTE["orange"]}
    ax.scatter(at[:, truth], np.full(n_times, y[truth]), facecolors="none", **frame)
    ax.set(xlim=(0.5, n_times + 0.5), ylim=(9.6 * size, -0.8 * size), xticks=[])
    ax.set_yticks([(3.55 * c + 1) * size for c in range(3)], [f"{ball} ball decides" for ball in BALLS])
    ax.tick_params(length=0)
    ax.vlines(np.arange(1.5, n_times), *ax.get_ylim(), color="#DDDDDD", linewidth=0.7)
    ax.spines[:].set_visible(False)


# --- one agent -----------------------------------------------------------------------------------------------------------
def typical_agent(result: Result, scheme: str | int = 0) -> int:
    """The agent whose discovery time, or score where nothing is to be discovered, is nearest to the median of its scheme (the
    first of them).
    """
    times = result.discovery_trials if "discovery_trials" in result.measures else result.score  # (who knows the rule)
    times = times[result.index(scheme)]
    return int(np.abs(times - np.median(times)).argmin())


def has_hypotheses(result: Result, scheme: str | int) -> bool:
    return bool(np.isfinite(result.model_posterior[result.index(scheme)]).any())


def one_agent(result: Result, scheme: str | int = 0, agent: int = 0) -> Figure:
    """All trials of one agent: success, confidence and divergence; log odds and posterior over rules if it has hypotheses;
    and the learned likelihood beside the true one if the result has a trace."""
    s = result.index(scheme)
    if not 0 <= agent < result.sizes["agent"]:
        raise ValueError(f"agent must lie in 0..{result.sizes['agent'] - 1}; got {agent}")
    learned = "pA_feedback" in result.trace
    reasons = has_hypotheses(result, s)
    left, width, gap, top = 0.68, 4.6 if learned else 7.15, 0.36, 0.24
    curves = [m for m in ("confidence", "kl_to_truth") if m in result.measures]
    heights = [1.0] + [0.8] * len(curves) + ([1.35, 2.6] if reasons else [])
    truth = _truth(result, agent)
    rule = f"The true rule, number {truth}: {rules().descriptions[truth]}."
    if result.adopted_model[s, agent] >= 0:
        rule += " Dashed line: insight." if result.adopted_truth[s, agent] else " Dotted line: a wrong rule is adopted."
    legend = (
        " Panels at the right: P(feedback 'right') for 27 colourings (rows), answers and gazes (columns);"
        " foreseen: the true feedback is the likelier one."
    )
    height = top + sum(heights) + gap * (len(heights) - 1) + 0.5
    page = plots.Page(height, _agent_story(result, s, agent), rule + (legend if learned else ""))
    drawn = []
    for height in heights:
        drawn.append(page.axes(left, top, width, height))
        top += height + gap
    plots.wins_and_losses(result, s, agent, ax=drawn[0])
    for ax, measure in zip(drawn[1:], curves, strict=False):
        plots.series(result, measure, s, agent, ax=ax)
        ax.set_ylabel("nats")
        ax.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    plots.title(drawn[1], drawn[1].get_title(loc="left").replace("\n", " ").replace(" a trial", " nats a trial", 1))
    if "kl_to_truth" in curves:
        kl = result.kl_to_truth[s, agent]
        moves = "falls" if kl[-1] < kl[0] else "does not fall"
        plots.title(drawn[2], f"KL divergence from the truth {moves}: {kl[0]:.0f} nats at first, {kl[-1]:.0f} in the end")
    if reasons:
        plots.log_odds(result, s, agent, ax=drawn[3])
        plots.title(drawn[3], _log_odds_say(result, s, agent))
        plots.model_posterior(result, s, agent, bar=False, ax=drawn[4])
        drawn[4].set_ylabel("rule")
        plots.title(drawn[4], _posterior_says(result, s, agent, truth))
    for ax in drawn[:-1]:
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
    page.figure.align_ylabels(drawn)
    if learned:
        _likelihoods(page, result, s, agent, top - gap)
    elif reasons:
        page.scale(drawn[4], left + width + 0.47, top - gap - 2.6, 1.4, "probability", SHADE_TICKS)
    return page.figure


def _trials(result: Result) -> str:
    count = result.sizes["trial"]
    return f"{count} trial{'s' if count > 1 else ''}"


def _agent_story(result: Result, s: int, agent: int) -> str:
    losses = result.losses[s, agent]
    adopted, after = int(result.adopted_model[s, agent]), int(result.adoption_trial[s, agent]) + 1
    if adopted < 0:
        what = "adopts no rule in" if has_hypotheses(result, s) else "over"
        return f"An agent of the scheme '{result.schemes[s]}' {what} {_trials(result)}"
    later = int(losses[after:].sum())
    then = "" if after == len(losses) else f": {losses[:after].sum()} losses until then, {later or 'none'} afterwards"
    if result.adopted_truth[s, agent]:
        return f"Insight after trial {after}: the agent adopts the true rule{then}"
    return f"No insight: after trial {after} the agent adopts a wrong rule ({adopted}){then}"


def _posterior_says(result: Result, s: int, agent: int, truth: int) -> str:
    held = result.model_posterior[s, agent]
    left = (held > 0.01).sum(axis=1)
    others = np.flatnonzero((left > 1) | (held[:, truth] <= 0.01))
    start = f"{left[0]} rules are above 0.01 after trial 1"
    if len(others) and others[-1] + 1 < len(held):
        return f"{start}, only the true one from trial {others[-1] + 2} on"
    end = f"{held[-1, truth]:.2f}" if held[-1, truth] >= 0.01 else "less than 0.01"
    return f"{start}; the true one ends at {end}"


def _log_odds_say(result: Result, s: int, agent: int) -> str:
    when = int(result.adoption_trial[s, agent]) + 1
    if when:
        return f"Log odds of the best rule pass Occam's window in trial {when}"
    most = f"{result.log_odds[s, agent].max():.1f}".replace("-", "−")
    return f"Log odds of the best rule: at most {most} nats, it is not adopted"


def _likelihoods(page: plots.Page, result: Result, s: int, agent: int, bottom: float) -> None:
    """P(right | colours, gaze, answer) as learned before and after a rule was adopted, and the true one."""
    model, counts = world_model(), plots.record(result, s, agent)["pA_feedback"]
    true, when = rules().dense(_truth(result, agent), 2), int(result.adoption_trial[s, agent]) + 1
    shown = [0, len(counts) - 1] if not 0 < when < len(counts) else [when - 1, when]
    adopted = "After insight" if result.adopted_truth[s, agent] else "A wrong rule"
    words = [f"By trial {i + 1}" if i != when else adopted for i in shown]
    tables = [(counts[i], f"{w}: {_agreement(counts[i], true):.0%} foreseen") for i, w in zip(shown, words, strict=True)]
    left, top, gap = 6.27, 0.24, 0.36
    height = (bottom - top - 2 * gap) / 3
    for k, (table, words) in enumerate([*tables, (true, "The truth")]):
        ax = page.axes(left, top, 1.95, height)
        order = {"rows": ["centre", "left", "right"], "columns": ["choice", "gaze"]}
        plots.likelihood(table, model, "feedback", "right", **order, ax=ax)
        plots.title(ax, words)
        ax.set_ylabel("colour of the centre ball")
        ax.set_xlabel("answer" if k == 2 else "")
        ax.set_xticks(ax.get_xticks(), [*COLOURS, "none"] if k == 2 else [])
        if k == 0:
            page.scale(ax, left + 2.07, top, height, "P(told 'right')")
        top += height + gap


def _agreement(counts: np.ndarray, true: np.ndarray) -> float:
    """Share of the 324 cases with an answer in which the more probable feedback is the true one."""
    told = counts[1:, ..., : len(COLOURS)].argmax(axis=0) == true[1:, ..., : len(COLOURS)].argmax(axis=0)
    return float(told.mean())


# --- discovery -----------------------------------------------------------------------------------------------------------
def discovery(result: Result, ideal: ArrayLike) -> Figure:
    """How many trials agents need to find the rule, scheme by scheme, beside an observer who eliminates rules by logic.

    Args:
        result: from `simulate`; schemes are drawn in its order.
        ideal: trials that the observer needed who lived through the same balls as agent k ``(n_agents,)``
            (`activebmr.references.ideal_observer` with the same seed).
    """
    trials = np.asarray(ideal)
    if trials.shape != (result.sizes["agent"],):
        raise ValueError(f"ideal must have shape ({result.sizes['agent']},), one entry per agent; got {trials.shape}")
    most = result.sizes["trial"]
    shown = [
        (_words(name), result.discovery_trials[s], plots.colour(s), _wrong(result, s)) for s, name in enumerate(result.schemes)
    ]
    shown.append(("the ideal observer\neliminates by logic", trials, plots.PALETTE["grey"], ""))
    shown.sort(key=lambda row: -row[1].mean())
    left, width, tall, gap = 2.1, 5.0, 0.82, 0.24
    page = plots.Page(len(shown) * (tall + gap) + 0.3, _discovery_story(result, trials), _paired_words(result, trials))
    edges = np.arange(0.5, most + 1.5)
    shares = [100 * np.histogram(values, edges)[0] / len(values) for _, values, _, _ in shown]
    usual = max([10.0, *(1.25 * share.max() for share in shares if share.max() < 40)])
    logic = 100 * np.histogram(trials, edges)[0] / len(trials)
    for k, ((name, values, paint, note), share) in enumerate(zip(shown, shares, strict=True)):
        ax = page.axes(left, 0.02 + k * (tall + gap), width, tall)
        ax.bar(edges[:-1] + 0.5, share, 0.86, color=paint, alpha=0.6, linewidth=0)
        ax.stairs(logic, edges, color=INK, linewidth=0.9, label="the ideal observer")
        top = usual if share.max() < usual else 125.0
        ax.set(xlim=(0.5, most + 0.5), ylim=(0, top), ylabel="% of agents")
        ax.set_yticks([0, 50, 100] if top > usual else range(0, int(usual / 1.1) + 1, max(1, 5 * round(usual / 15))))
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        bar = None if np.isnan(error) else error
        ax.errorbar(values.mean(), 0.92 * top, xerr=bar, color=paint, marker="o", markersize=4.5, capsize=3)
        words = f"{values.mean():.1f}" + ("" if np.isnan(error) else f" ± {error:.1f}") + " trials"
        ax.text(1.02, 0.82, words, transform=ax.transAxes, va="center", fontsize=10, fontweight="bold", color=paint)
        late = int((values >= most).sum())
        facts = f"median {np.median(values):g}, " + (f"{late} need {most}+" if late else f"slowest {values.max():g}")
        ax.text(1.02, 0.64, facts + note, transform=ax.transAxes, va="top", fontsize=8, color="#444444", linespacing=1.35)
        ax.text(-0.125, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize=8.5, linespacing=1.35)
        ax.spines[["top", "right"]].set_visible(False)
        last = k == len(shown) - 1
        ax.set_xticks([t for t in (1, *range(8, most + 1, 8)) if t <= most])
        ax.tick_params(labelbottom=last)
        ax.set_xlabel("trials until the rule is found" if last else "")
        if k == 0:
            ax.legend(loc="upper right", handlelength=1.4, borderaxespad=0.1)
    return page.figure


def _words(name: str) -> str:
    known = {
        "paper": "paper\n(SPM's scheme)",
        "reasoning": "reasoning (ours)\nexact beliefs and gains",
        "laboratory": "laboratory (ours)\nsets the balls itself",
    }
    return known.get(name, f"{name}\n{NOTES[name]}" if name in NOTES else name)


def _wrong(result: Result, s: int) -> str:
    wrong = int(result.adopted_wrong[s].sum())
    return f"\nwrong rule: {wrong} of {result.sizes['agent']}" if has_hypotheses(result, s) else ""


def _discovery_story(result: Result, ideal: np.ndarray) -> str:
    means = {name: float(result.discovery_trials[s].mean()) for s, name in enumerate(result.schemes)}
    if "reasoning" not in means:
        return f"Logic finds the rule after {ideal.mean():.1f} trials on average"
    ours = means["reasoning"]
    alike = f"{ours:.1f}" == f"{ideal.mean():.1f}"
    head = f"Ours finds the rule after {ours:.1f} trials, " + ("as logic does" if alike else f"logic after {ideal.mean():.1f}")
    return head + (f"; the paper's scheme (SPM) needs {means['paper']:.1f}" if "paper" in means else "")


def _paired_words(result: Result, ideal: np.ndarray) -> str:
    """Agent by agent: how many trials more than the ideal observer, and than the agents of the paper."""
    if "reasoning" not in result.schemes:
        return "Discovery times of all agents; dots: their means and standard errors."
    ours = result.discovery_trials[result.index("reasoning")]
    gap, n = ours - ideal, len(ours)
    same = int((gap == 0).sum())
    who = f"all {n} agents find the rule" if same == n else f"{same} of {n} agents find the rule"
    words = f"Paired, agent by agent with the same balls: {who} in the very trial in which logic does"
    words += (
        "." if same == n else f" (mean difference {gap.mean():+.2f} trials, at most {np.abs(gap).max():g}).".replace("-", "−")
    )
    if "paper" in result.schemes:
        more = result.discovery_trials[result.index("paper")] - ours
        error = more.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        words += f" Under the paper's scheme they need {more.mean():.1f}" + ("" if np.isnan(error) else f" ± {error:.1f}")
        words += " trials more."
    return words + " Dots: means and standard errors."


# --- all agents ----------------------------------------------------------------------------------------------------------
def schemes(result: Result) -> Figure:
    """All agents of all schemes: cumulative score over trials, a paired comparison, discovery time and score."""
    names = result.schemes
    across = min(3, len(names))
    down = -(-len(names) // across)
    left, gap, first, tall, line = 0.68, 0.25, 0.24, 1.6 if len(names) > 1 else 2.2, 0.42
    each = (plots.WIDTH - left - 0.2 - gap * (across - 1)) / across
    low_top = first + down * (tall + line) + 0.55
    low = max(1.2, 0.37 * len(names))
    page = plots.Page(low_top + max(low, _size(result)) + 0.5, *_schemes_say(result))
    net = np.cumsum(result.wins - result.losses, axis=2)
    room = 0.05 * (net.max() - net.min()) + 0.3
    for s in range(len(names)):
        row, column = divmod(s, across)
        ax = page.axes(left + column * (each + gap), first + row * (tall + line), each, tall)
        wrong = result.adopted_wrong[s]
        plots.trajectories(result, "net_wins", s, cumulative=True, highlight=wrong, ax=ax)
        plots.title(ax, ax.get_title(loc="left").replace("\n", " ").replace(" at the end", " points"))
        note = NOTES.get(names[s], "") + (f"\nblack: {wrong.sum()} with a wrong rule" if wrong.any() else "")
        ax.text(0.03, 0.97, note, transform=ax.transAxes, va="top", fontsize=8, color="#444444", linespacing=1.3)
        ax.set_ylim(net.min() - room, net.max() + 3 * room)
        ax.set_ylabel("cumulative score" if column == 0 else "")
        ax.set_xlabel("trial" if s + across >= len(names) else "")
        ax.tick_params(labelleft=column == 0, labelbottom=s + across >= len(names))
    _comparisons(page, result, low_top, low)
    return page.figure


def _schemes_say(result: Result) -> tuple[str, str]:
    rows = {row["scheme"]: row for row in result.summary()}
    below = (
        "Score: wins − losses. Thin lines and bars: agents. Thick lines, dots and numbers: their mean and its standard error."
    )
    if {"reasoning", "paper"} <= set(rows) and result.sizes["agent"] > 1:
        gap = result.score[result.index("reasoning")] - result.score[result.index("paper")]
        if gap.mean() > 2 * gap.std(ddof=1) / np.sqrt(len(gap)):
            ours, theirs = (result.discovery_trials[result.index(name)].mean() for name in ("reasoning", "paper"))
            times = f"finds the rule after {ours:.1f} trials, not {theirs:.1f}"
            return f"Exact reasoning {times} (the paper), and earns {gap.mean():.0f} points more", below
    if {"paper", "paper-none"} <= set(rows):
        with_, without, n = rows["paper"]["found"], rows["paper-none"]["found"], result.sizes["agent"]
        p, q = (n * with_ + 1) / (n + 2), (n * without + 1) / (n + 2)
        sure = p - q > 2 * np.sqrt((p * (1 - p) + q * (1 - q)) / (n + 2))
        head = "Curiosity finds the rule: " if sure else "Who finds the rule? "
        return f"{head}{with_:.0%} of agents do with all gains (paper), {without:.0%} with none (paper-none)", below
    reasoning = [row for row in rows.values() if row["has_hypotheses"]]
    row = reasoning[0] if reasoning else next(iter(rows.values()))
    error = "" if np.isnan(row["score_se"]) else f" ± {row['score_se']:.1f}"
    score = f"score {row['score']:.1f}{error} after {_trials(result)}".replace("-", "−")
    if not reasoning:
        return f"Scheme '{row['scheme']}': {score}", below
    adopted = result.adopted_truth[result.index(row["scheme"])].sum()
    who = f"{adopted} of {row['agents']} agents" if row["agents"] > 1 else "The agent" if adopted else "No agent"
    return f"{who} ({row['scheme']}) adopted the true rule; {score}", below


def _size(result: Result) -> float:
    """Side of the paired scatter, inches; none for a single scheme."""
    return 0.0 if len(result.schemes) == 1 else float(np.clip(0.37 * len(result.schemes), 1.8, 2.3))


def _comparisons(page: plots.Page, result: Result, top: float, height: float) -> None:
    names = result.schemes
    pairs = (("reasoning", "paper"), ("paper", "paper-states"))
    pair = next((p for p in pairs if set(p) <= set(names)), tuple(names[:2]))
    left = 0.68
    if len(names) > 1:
        size = _size(result)
        ax = page.axes(left, top, size, size)
        plots.paired_scatter(result, "score", *pair, ax=ax)
        gap = result.score[result.index(pair[0])] - result.score[result.index(pair[1])]
        more, less = pair if gap.sum() >= 0 else pair[::-1]
        better = int((np.sign(gap.sum()) * gap > 0).sum())
        plots.title(ax, f"{better} of {len(gap)} agents score more under {more} than under {less}")
        left += size + 1.55
    else:
        left += 0.55
    width = (plots.WIDTH - left - 0.75 - 0.85) / 2
    told = {"discovery_trials": "Earliest discovery", "score": "Highest score"}
    for k, (measure, words) in enumerate((m, w) for m, w in told.items() if m in result.measures):
        ax = page.axes(left + k * (width + 0.85), top, width, height)
        plots.histogram(result, measure, ax=ax)
        best = _best(result, measure)
        if len(names) > 1:
            few = ", ".join(best) if len(best) <= 3 else f"{len(best)} schemes alike"
            plots.title(ax, f"{words}: {few}" if best else "No clear differences")
        if k:
            ax.set_yticks([])


def _best(result: Result, measure: str) -> list[str]:
    """Which schemes that do not know the rule do best, up to two standard errors of the paired difference; none if all do."""
    told = [s for s in range(len(result.schemes)) if has_hypotheses(result, s)] or [0]
    worth = -result[measure] if measure == "discovery_trials" else result[measure]
    best = max(told, key=lambda s: worth[s].mean())
    lag = {s: worth[best] - worth[s] for s in told}
    alike = [result.schemes[s] for s in told if lag[s].mean() <= 2 * lag[s].std() / np.sqrt(max(1, len(lag[s]) - 1))]
    return alike if len(alike) < len(told) or len(told) == 1 else []


def model_posterior(result: Result) -> Figure:
    """Posterior of the true rule in all agents of every scheme that has hypotheses."""
    chosen = [s for s in range(len(result.schemes)) if has_hypotheses(result, s)]
    if not chosen:
        raise ValueError(f"result must hold a scheme whose agents have hypotheses; it holds {result.schemes}")
    across = min(3, len(chosen))
    down = -(-len(chosen) // across)
    left, gap, first, tall, line = 0.45, 0.3, 0.24, 2.2 if len(chosen) > 1 else 3.2, 0.42
    each = (plots.WIDTH - left - 0.9 - gap * (across - 1)) / across
    page = plots.Page(
        first + down * (tall + line) + 0.12,
        _adoption_story(result, chosen[0]),
        "Shades: posterior of the true rule. Dots: the agent adopts this rule. Crosses: it adopts a wrong one.",
    )
    for k, s in enumerate(chosen):
        row, column = divmod(k, across)
        ax = page.axes(left + column * (each + gap), first + row * (tall + line), each, tall)
        plots.insight(result, s, bar=False, legend=False, ax=ax)
        right, wrong = int(result.adopted_truth[s].sum()), int(result.adopted_wrong[s].sum())
        plots.title(ax, f"{result.schemes[s]}: {right} right, {wrong} wrong")
        if column:
            ax.set_ylabel("")
        under = k + across >= len(chosen)
        ax.set_xlabel("trial" if under else "")
        ax.tick_params(labelbottom=under)
    page.scale(ax, plots.WIDTH - 0.75, first, tall, "posterior of the true rule")
    return page.figure


def _adoption_story(result: Result, s: int) -> str:
    found, n_agents = result.adopted_truth[s], result.sizes["agent"]
    if not found.any():
        return f"Adoptions of the true rule in {_trials(result)}: none ({result.schemes[s]}, agents: {n_agents})"
    when = np.median(result.adoption_trial[s][found]) + 1
    after = f"after trial {when:g}" + (" in the median" if found.sum() > 1 else "")
    return f"{found.sum()} of {n_agents} agents ({result.schemes[s]}) adopted the true rule, {after}"


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw what a result shows into a folder, which is made if it is not there.

    Always ``schemes.png`` (all agents of all schemes) and ``one_agent.png`` (a typical agent of the first scheme that has
    hypotheses, or else of the first one); ``model_posterior.png`` (the posterior of the true rule in all agents) if any
    scheme has hypotheses.

    Returns:
        the files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    reasoning = [s for s in range(len(result.schemes)) if has_hypotheses(result, s)]
    scheme = reasoning[0] if reasoning else 0
    with plots.style():
        drawn = {"schemes.png": schemes(result), "one_agent.png": one_agent(result, scheme, typical_agent(result, scheme))}
        if reasoning:
            drawn["model_posterior.png"] = model_posterior(result)
        return [plots.save(figure, folder / name) for name, figure in drawn.items()]
