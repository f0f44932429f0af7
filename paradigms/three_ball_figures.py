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
    t = int(answers.max(axis=1).argmax())
    held = np.flatnonzero(answers.max(axis=1) > 0.5)
    best = COLOURS[int(answers[t].argmax())]
    if not len(held):
        return "Policies: looking without answering stays the better choice (rings: what it does next)"
    return f"Policies: from time {held[0] + 1} it prefers to answer; {best} has up to {answers.max():.2f} (rings: what it does next)"


def _confidence_says(rows: dict[str, np.ndarray]) -> str:
    values = rows["confidence"]
    t = int(values.argmax())
    return f"Confidence is highest at time {t + 1}, when {np.exp(-values[t]):.1f} of 16 policies are in the running (exp of the entropy)"
