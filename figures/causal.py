"""Agents that look for a causal graph: ``python figures/causal.py`` draws ``figures/causal.png`` (minutes)."""

from pathlib import Path

from activebmr import plots, simulate
from activebmr.paradigms import causal
from activebmr.paradigms.causal import drawing, free


def main(n_agents: int = 512, n_trials: int = 256, free_agents: int = 256, free_trials: int = 200) -> None:
    result = simulate([causal.paradigm(s) for s in causal.SCHEMES], n_agents, n_trials, seed=0, jobs=-1)
    traced = simulate(causal.paradigm("gain"), n_agents, 12, seed=0, trace=True)
    studies = [free.study(way, free_agents, free_trials, seed=0) for way in ("gain", "graph", "random", "watching")]
    with plots.style():
        plots.save(drawing.overview(result, traced, studies), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
