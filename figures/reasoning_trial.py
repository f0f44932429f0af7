"""Reasoning within one trial: ``python figures/reasoning_trial.py`` draws ``figures/reasoning_trial.png``."""

from pathlib import Path

import numpy as np

from activebmr import plots, simulate
from activebmr.paradigms import three_ball, three_ball_figures

AGENTS, TRIALS = 32, 4


def nats(states: np.ndarray, belief: np.ndarray) -> float:
    """What a trial tells about the rules, if it shows three colours, looked at one by one with answers; else nothing."""
    shown = len(set(states[0, :3])) == 3 and set(states[1:4, 3]) == {0, 1, 2} and (states[1:4, 4] < 3).all()
    entropy = -(belief * np.log(np.maximum(belief, 1e-300))).sum(axis=1)
    return float(entropy[0] - entropy[-1]) if shown and entropy[-1] > 0.5 else 0.0


def main() -> None:
    result = simulate(three_ball.paradigm("reasoning"), n_agents=AGENTS, n_trials=TRIALS, seed=0, trace=True)
    states, belief = result.trace["states"][0], result.trace["model_posterior"][0]
    agent, trial = max(np.ndindex(AGENTS, TRIALS), key=lambda at: nats(states[at], belief[at]))  # the first of the best
    with plots.style():
        figure = three_ball_figures.reasoning_trial(result, agent=agent, trial=trial)
        plots.save(figure, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
