"""32 trials of one reasoning agent with insight: ``python figures/one_agent.py`` draws ``figures/one_agent.png``."""

from pathlib import Path

from activebmr import plots, simulate
from paradigms import three_ball, three_ball_figures


def main() -> None:
    result = simulate(three_ball.paradigm("reasoning"), n_agents=1, n_trials=32, seed=0, trace=True)
    with plots.style():
        three_ball_figures.save(three_ball_figures.one_agent(result), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
