"""Simulated neuronal responses before learning and after sleep: ``python figures/insight_neurons.py`` draws
``figures/insight_neurons.png``."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from activebmr import Agent, AgentState, ModelProcess, plots
from activebmr.paradigms.insight import COLOURS, RULES, TRIAL_LENGTH, paradigm, world_model
from activebmr.paradigms.insight_figures import life, relived
from activebmr.paradigms.three_ball_figures import FILL
from activebmr.simulation.neurons import NeuronalResponses, neuronal_responses

HIDDEN = (0, 1)  # left rule, the correct colour is green
TRUTH, SEED = 0, 0
PAINTS = {"colour": [FILL[c] for c in COLOURS], "rule": [plots.PALETTE[c] for c in ("sky", "orange", "black")]}
Trial = tuple[np.ndarray, np.ndarray]


def trial(agent: Agent, state: AgentState) -> Trial:
    """Outcomes and controls of a trial with the hidden states `HIDDEN`; the agent keeps its state."""
    scene = paradigm("sleep")
    process, rng = ModelProcess(scene.model, scene.hypotheses, np.array([TRUTH])), np.random.default_rng(SEED)
    seen, done = [], []
    for t in range(TRIAL_LENGTH):
        uniforms = rng.random((1, process.n_uniforms))
        _, now = process.step(done[-1], uniforms) if t else process.reset(uniforms, np.array([[*HIDDEN, -1, -1]]))
        state, info = agent.step(state, now[0], rng)
        seen.append(now[0])
        done.append(info.controls[None])
    return np.stack(seen), np.concatenate(done)


def story(seen: np.ndarray) -> str:
    """Where the agent looked, and whether its answers were right."""
    names = world_model().labels["outcomes"]
    looks = [names["where"][w] for w in seen[:, 1] if w < len(RULES)]
    right, wrong = (int((seen[:, 2] == k).sum()) for k in (1, 2))
    answers = "answers " + ("both right and wrong" if right and wrong else "right" if right else "wrong")
    return f"looks {', '.join(looks) or 'nowhere'}; {answers if right or wrong else 'does not answer'}"


def strip(ax: Axes, seen: np.ndarray, controls: np.ndarray) -> None:
    """In words, at each time: where the agent looks, what it sees, what it reports and is told."""
    names, n = world_model().labels["outcomes"], len(seen)
    for t, (what, where, told) in enumerate(seen):
        report = COLOURS[controls[t - 1, 3]] if t and controls[t - 1, 3] < len(COLOURS) else "–"
        sees = names["what"][what] if where < len(RULES) else "–"
        verdict = names["feedback"][told] if told else "–"
        for y, word in enumerate((names["where"][where], sees, report, verdict)):
            ax.text((t + 0.5) / n, y, word, ha="center", va="center", fontsize=8,
                    color=plots.PALETTE["vermilion"] if word == "wrong" else plots.PALETTE["black"])  # fmt: skip
    ax.vlines(np.arange(1, n) / n, -0.5, 3.5, color="#CCCCCC", linewidth=0.7)
    ax.set(xlim=(0, 1), ylim=(3.5, -0.5), xticks=[])
    ax.set_yticks(range(4), ["looks at", "sees", "reports", "is told"])
    ax.tick_params(length=0)
    ax.spines[:].set_color("#BBBBBB")


def draw(shown: dict[str, tuple[Trial, NeuronalResponses]], aha: int) -> Figure:
    """One column per agent: what happens, rasters of two factors, their rates of change, dopamine."""
    left, each, gap, line = 0.85, 3.6, 0.25, 0.45
    tall = {"strip": 0.72, "rule": 1.5, "colour": 1.5, "lfp rule": 0.75, "lfp colour": 0.75, "dopamine": 0.85}
    page = plots.Page(0.3 + sum(tall.values()) + line * (len(tall) - 1) + 0.5, _story(shown), _note(aha))
    rows: dict[str, list[Axes]] = {name: [] for name in tall}
    for k, (name, ((seen, controls), responses)) in enumerate(shown.items()):
        top = 0.3
        for row, height in tall.items():
            ax = page.axes(left + k * (each + gap), top, each, height)
            if row == "strip":
                strip(ax, seen, controls)
                plots.title(ax, f"{name}: {story(seen)}")
            elif row == "dopamine":
                plots.dopamine(responses, ax=ax)
                ax.set_ylabel("nats per\niteration")
            elif row.startswith("lfp"):
                factor = row.split()[1]
                plots.local_field_potentials(responses, factor, colours=PAINTS[factor], ax=ax)
                if not k:
                    ax.get_legend().remove()
            else:
                plots.firing_rates(responses, row, ax=ax)
                ax.set_ylabel("moment")
            if row != "dopamine":
                ax.set_xlabel("")
                ax.tick_params(labelbottom=False)
            if k:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
            rows[row].append(ax)
            top += height + line
    for row in ("lfp rule", "lfp colour", "dopamine"):
        low, high = (f(ax.get_ylim()[j] for ax in rows[row]) for j, f in enumerate((min, max)))
        for ax in rows[row]:
            ax.set_ylim(low, high)
    page.figure.align_ylabels([row[0] for row in rows.values()])
    return page.figure


def _story(shown: dict[str, tuple[Trial, NeuronalResponses]]) -> str:
    """From which outcome on each is sure of the correct colour at the present moment, once rates have settled."""
    parts = []
    for name, (_, responses) in shown.items():
        present = np.array([responses.rates[1][t, -1, t, HIDDEN[1]] for t in range(TRIAL_LENGTH)])
        unsure = np.flatnonzero(present < 0.95)
        since = unsure[-1] + 1 if len(unsure) else 0
        sure = f"from outcome {since + 1}" if since < TRIAL_LENGTH else f"never ({present.max():.2f} at most)"
        parts.append(f"{sure} {name.lower()}")
    return f"Sure of the correct colour: {', '.join(parts)}"


def _note(aha: int) -> str:
    return (
        f"The same trial (rule {RULES[HIDDEN[0]]}, correct colour {COLOURS[HIDDEN[1]]}) in the life of one agent, whose aha "
        f"moment comes after trial {aha + 1}. Rasters: for each moment of the trial one row per state ({', '.join(RULES)}; "
        f"{', '.join(COLOURS)}), dark for a high rate; grey: not represented yet. Dashed: an outcome is seen; after the last "
        "one nothing is left to decide, and confidence falls."
    )


def main() -> None:
    outcomes, controls, aha = life()
    shown = {}
    for name, n in (("Before learning", 0), ("After sleep", aha + 1)):
        agent, state = relived("sleep", outcomes[:n], controls[:n])
        lived = trial(agent, state)
        shown[name] = lived, neuronal_responses(agent, state, *lived)
    with plots.style():
        plots.save(draw(shown, aha), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
