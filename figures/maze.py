"""Moves until a maze is known, and one agent's ways: ``python figures/maze.py [agents]`` draws ``figures/maze.png``."""

import sys
from pathlib import Path

from activebmr import plots, simulate
from activebmr.paradigms import maze
from activebmr.paradigms.maze.drawing import overview
from activebmr.paradigms.maze.measures import ways


def main(n_agents: int = 512) -> None:
    names = list(maze.SCHEMES)
    lived = [ways(simulate([maze.paradigm(s, corridors=c) for s in names], n_agents, 1, trace=True)) for c in (2, 0)]
    with plots.style():
        plots.save(overview(names, *lived), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
