"""One trial of an agent that knows the rule: ``python figures/one_trial.py`` draws ``figures/one_trial.png``."""

from pathlib import Path

import numpy as np

from activebmr import plots, simulate
from activebmr.paradigms import three_ball, three_ball_figures

CENTRE, UNDECIDED = 1, 3


def instructive(states: np.ndarray, outcomes: np.ndarray) -> bool:
    """Three colours, not green at the centre; a look at the centre, one at the ball that counts, then right answers."""
    colours, gaze, choice = states[0, :3], states[:, 3], states[:, 4]
    counts = colours[CENTRE]  # red: left ball, green: centre, blue: right
    looks = gaze[1] == CENTRE and gaze[2] == counts != CENTRE and (choice[:3] == UNDECIDED).all()
    return bool(len(set(colours)) == 3 and looks and (outcomes[3:, 2] == 1).all())


def main() -> None:
    result = simulate(three_ball.paradigm("knowing"), n_agents=1, n_trials=32, seed=0, trace=True)
    rows = plots.record(result)
    trial = next(i for i in range(32) if instructive(rows["states"][i], rows["outcomes"][i]))
    with plots.style():
        plots.save(three_ball_figures.one_trial(result, trial=trial), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
