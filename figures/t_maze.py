"""What cue and context of a T-maze are up to, and when the cue is asked: ``python figures/t_maze.py [agents [sessions]]`` draws
``figures/t_maze.png`` (minutes).
"""

import sys
from pathlib import Path

from activebmr import plots, simulate
from activebmr.paradigms import t_maze
from activebmr.paradigms.t_maze.drawing import overview
from activebmr.paradigms.t_maze.lives import lives

SCHEMES = ("reasoning", "preferences", "gain", "no-model", "random")
SHOWN = ("reasoning", "preferences")


def main(n_agents: int = 256, n_sessions: int = t_maze.TRIALS) -> None:
    result = simulate([t_maze.paradigm(s) for s in SCHEMES], n_agents, n_sessions, seed=0, jobs=-1, trace=True)
    told = simulate(t_maze.knowing(n_agents, 0), n_agents, n_sessions, seed=0)
    with plots.style():
        figure = overview(result, told, {name: lives(result, name) for name in SHOWN})
        plots.save(figure, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
