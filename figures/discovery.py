"""How fast 512 agents find the rule, beside logic: ``python figures/discovery.py`` draws ``figures/discovery.png``."""

from pathlib import Path

from activebmr import plots, simulate
from activebmr.paradigms import three_ball, three_ball_figures
from activebmr.references import ideal_observer

SCHEMES = ("reasoning", "paper", "laboratory")
AGENTS, TRIALS, SEED = 512, 64, 0


def main() -> None:
    result = simulate([three_ball.paradigm(s) for s in SCHEMES], n_agents=AGENTS, n_trials=TRIALS, seed=SEED, jobs=2)
    ideal = ideal_observer(three_ball.paradigm(), n_agents=AGENTS, n_trials=TRIALS, seed=SEED)
    with plots.style():
        figure = three_ball_figures.discovery(result, ideal.trials)
        plots.save(figure, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
