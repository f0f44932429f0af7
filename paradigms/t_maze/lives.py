"""Where animals in a T-maze go, and how often they ask the cue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from activebmr import Paradigm, Result, simulate
from activebmr.paradigms.t_maze.reading import setting, window_of
from activebmr.paradigms.t_maze.world import CUE

__all__ = ["lives", "looks"]


def looks(result: Result, scheme: str | int = 0, n_agents: int | None = None) -> NDArray[np.intp]:
    """How often agents of a scheme look at the cue in each session ``(agent, session)``; see `lives`."""
    return np.asarray((lives(result, scheme, n_agents)[0] == CUE).sum(axis=2))


def lives(result: Result, scheme: str | int = 0, n_agents: int | None = None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where agents of a scheme are, and what they find there (1 a reward, 2 a punishment) ``(agent, session, time)``: from the
    trace, or else, the same seed being the same life, by letting them live again.

    Args:
        result: from `simulate`.
        scheme: name or index of the scheme.
        n_agents: so many of them, the first; all by default.

    Raises:
        ValueError: if there is no trace, and the agents are not those of the scheme.
    """
    s, who = result.index(scheme), result.agent[:n_agents]
    at, rows, trace = s, np.arange(len(who)), result.trace
    if not trace:
        again = simulate(_again(result, s), int(who.max()) + 1, result.sizes["trial"], int(result.seed), trace=True)
        if (again.wins[0, who] != result.wins[s, rows]).any() or (again.losses[0, who] != result.losses[s, rows]).any():
            raise ValueError(f"result must have a trace, as its agents are not those of the scheme {result.schemes[s]!r}")
        at, rows, trace = 0, who, again.trace
    states, outcomes = trace["states"][at, rows], trace["outcomes"][at, rows]
    return states[..., 1].astype(np.intp), outcomes[..., 2].astype(np.intp)


def _again(result: Result, s: int) -> Paradigm:
    from activebmr.paradigms.t_maze import paradigm  # which draws on this module

    ahead = result.settings["schemes"][result.schemes[s]]["reasoning"]
    return paradigm(
        result.schemes[s],
        result.settings["truth"],
        moves=setting(result, "moves"),
        reward=setting(result, "reward"),
        counts=setting(result, "counts"),
        window=window_of(result, s),
        lookahead=0 if ahead is None else ahead["lookahead"],
    )
