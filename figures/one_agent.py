"""32 trials of a typical reasoning agent: ``python figures/one_agent.py`` draws ``figures/one_agent.png``."""

from pathlib import Path

from activebmr import plots, simulate
from activebmr.paradigms import three_ball, three_ball_figures


def main() -> None:
    result = simulate(three_ball.paradigm("reasoning"), n_agents=64, n_trials=32, seed=0, trace=True)
    agent = three_ball_figures.typical_agent(result)
    with plots.style():
        figure = three_ball_figures.one_agent(result, agent=agent)
        plots.save(figure, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
