"""512 agents in the bandit, 400 trials each: ``python figures/bandit.py`` draws ``figures/bandit.png``."""

from pathlib import Path

from activebmr import plots, simulate
from activebmr.paradigms import bandit
from activebmr.paradigms.bandit import drawing
from activebmr.paradigms.bandit.world import PREFERENCE

SCHEMES = ("efe", "no-model-gain", "greedy", "apart")
PREFERENCES = (0.125, 0.25, 1.0, 2.0, 4.0, 8.0)
"""Beside the paradigm's own."""
AGENTS, TRIALS = 512, 400


def main() -> None:
    result = simulate([bandit.paradigm(s) for s in SCHEMES], AGENTS, TRIALS, seed=0, jobs=-1)
    sizes = {PREFERENCE: bandit.regret(result)[0]}
    for size in PREFERENCES:
        sizes[size] = bandit.regret(simulate(bandit.paradigm("efe", preference=size), AGENTS, TRIALS, seed=0, jobs=-1))[0]
    with plots.style():
        page = drawing.overview(result, sizes)
        plots.save(page, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
