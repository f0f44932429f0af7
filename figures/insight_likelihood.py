"""What an agent expects to see before and after its aha moment: ``python figures/insight_likelihood.py`` draws
``figures/insight_likelihood.png``."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from activebmr import plots
from activebmr.paradigms.insight import COLOURS, RULES, claims, naive_counts, worlds
from activebmr.paradigms.insight_figures import life, relived
from activebmr.paradigms.three_ball_figures import FILL

UNDECIDED, TRUTH = 3, 0


def expected(counts: np.ndarray, place: int) -> np.ndarray:
    """Probability of red, green and blue at a place ``(colour seen, rule, correct colour)``, while undecided."""
    likelihood = counts / counts.sum(axis=0)
    return likelihood[: len(COLOURS), :, :, place, UNDECIDED]


def grid(ax: Axes, chance: np.ndarray, claimed: np.ndarray) -> None:
    """For each rule (row) and correct colour (column) the probabilities of seeing red, green and blue as three bars."""
    for rule, colour in np.ndindex(3, 3):
        bars = chance[:, rule, colour]
        x = colour + 0.14 + 0.24 * np.arange(3)
        ax.bar(x, -0.86 * bars, 0.24, rule + 0.95, align="edge", color=[FILL[c] for c in COLOURS], linewidth=0)
    ax.set(xlim=(0, 3), ylim=(3, 0), xticks=[], yticks=[])
    lines = {"color": "#BBBBBB", "linewidth": 0.7, "zorder": 0}
    ax.vlines([1, 2], 0, 3, **lines)
    ax.hlines([1, 2], 0, 3, **lines)
    ax.spines[:].set_color("#BBBBBB")
    for rule, colour in np.argwhere(claimed):
        x, y = np.array([0.03, 0.97, 0.97, 0.03, 0.03]) + colour, np.array([0.03, 0.03, 0.97, 0.97, 0.03]) + rule
        ax.plot(x, y, color=plots.PALETTE["orange"], linewidth=1.6, zorder=4)


def draw(tables: dict[str, np.ndarray], aha: int) -> Figure:
    """The expected likelihoods beside one another: before any trial, before and after sleep, after a dream, and the truth."""
    learned = claims(TRUTH)[: len(COLOURS), :, :, : len(RULES), UNDECIDED] > 0
    learned[..., 1] = False  # at the centre there is the cue, which is known
    chances = {name: np.stack([expected(counts, place) for place in range(3)], axis=-1) for name, counts in tables.items()}
    means = {name: chance[learned].mean() for name, chance in chances.items()}
    born, before, after, dreamt, _ = chances.values()
    unseen = int((np.abs(before - born)[learned] < 1e-6).sum())
    note = (
        "Probability of seeing red, green or blue at each place: rows within a panel are rules, columns the correct colour. "
        "Framed: where the true motif says what is seen; the numbers are the means of what it says. At the centre there is "
        f"always the cue. A dream then changes expectations by at most {np.abs(dreamt - after).max():.1g}."
    )
    left, gap, line, size = 1.05, 0.16, 0.12, 1.42
    page = plots.Page(0.5 + 3 * size + 2 * line + 0.85, _story(aha, before[learned], after[learned], unseen), note)
    for k, name in enumerate(tables):
        for place in range(3):
            x, y = left + k * (size + gap), 0.5 + place * (size + line)
            ax = page.axes(x, y, size, size)
            grid(ax, chances[name][..., place], learned[..., place].any(axis=0))
            if place == 0:
                ax.set_title(f"{name}\nframed: {means[name]:.2f}", loc="left", fontsize=8.5)
            if place == 2:
                ax.set_xticks([0.5, 1.5, 2.5], COLOURS)
                ax.set_xlabel("correct colour")
            if k == 0:
                ax.set_yticks([0.5, 1.5, 2.5], RULES)
                ax.set_ylabel(f"seen at the {RULES[place]}\n\nrule", fontweight="normal")
            ax.tick_params(length=0)
    keys = [Patch(color=FILL[c], label=f"sees {c}") for c in COLOURS]
    keys.append(Patch(facecolor="none", edgecolor=plots.PALETTE["orange"], linewidth=1.6, label="the true motif claims"))
    page.figure.legend(handles=keys, loc="lower left", ncols=4, bbox_to_anchor=(left / plots.WIDTH - 0.01, 0.0))
    return page.figure


def _story(aha: int, before: np.ndarray, after: np.ndarray, unseen: int) -> str:
    new = f"fills in {unseen} of {len(before)} cases that were never seen" if unseen else f"comes after trial {aha + 1}"
    return f"Sleep {new}: expectation of the truth {before.mean():.2f} → {after.mean():.2f}"


def main() -> None:
    outcomes, controls, aha = life()
    lived = {name: relived(name, outcomes[: aha + 1], controls[: aha + 1]) for name in ("naive", "sleep", "sleep-dream")}
    counts = {name: agent.posterior_counts(state, "what")[0] for name, (agent, state) in lived.items()}
    tables = {
        "Before any trial": naive_counts(),
        f"After {aha + 1} trials": counts["naive"],
        "After sleep": counts["sleep"],
        "After a dream": counts["sleep-dream"],
        "The truth": worlds().dense(TRUTH, 0),
    }
    with plots.style():
        plots.save(draw(tables, aha), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
