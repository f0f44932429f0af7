"""64 agents under six schemes, 64 trials each: ``python figures/schemes.py`` draws ``figures/schemes.png``."""

from pathlib import Path

from activebmr import plots, simulate
from activebmr.paradigms import three_ball, three_ball_figures

SCHEMES = ("reasoning", "paper", "laboratory", "paper-states", "paper-none", "knowing")


def main() -> None:
    result = simulate([three_ball.paradigm(s) for s in SCHEMES], n_agents=64, n_trials=64, seed=0, jobs=-1)
    with plots.style():
        plots.save(three_ball_figures.schemes(result), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
